"""Accepting jobs: the rows and the tally that counts them apart, in one transaction.

Idempotent by id: a batch whose commit was ambiguous is written again and changes nothing, because jobs and tally rows
have ids made by the sender.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.contracts.command import PRIORITIES, Command
from shared.contracts.lane import NAME_MOST_CHARS, is_lane_name
from shared.contracts.unique import OnConflict, Unique
from shared.db.sql import Connection, Statement
from shared.db.together import Part
from shared.kernel.clock import after_us
from shared.kernel.errors import BadInput, TooLarge
from shared.kernel.ids import new_id

ARGS_LIMIT_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Sole:
    """How a job is alone under its key; time (µs) and priority are there when the enqueue named them."""

    on_conflict: OnConflict
    until: int | None = None  # the end of its window
    run_at: int | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    task: str
    queue: str
    args: str
    tenant: str
    max_attempts: int
    timeout_s: float
    run_at: int
    created_at: int
    priority: int = 5
    lane: str | None = None
    trace: str | None = None
    parent: str | None = None
    unique_key: str | None = None
    sole: Sole | None = None  # with a unique key
    waits_for: int = 0  # children that must have ended first
    id: str = field(default_factory=lambda: new_id("job"))


def new_job(
    command: Command,
    *,
    tenant: str,
    now_us: int,
    run_at: int | None = None,
    priority: int | None = None,
    max_attempts: int | None = None,
    timeout_s: float | None = None,
    lane: str | None = None,
    unique: Unique | Literal[False] | None = None,
    **seams: Any,
) -> NewJob:
    """The row for a command; its class gives what is not given; `unique=False` is one beside all others.

    Raises TooLarge, BadInput.
    """
    args = command.model_dump_json()
    if len(args) > ARGS_LIMIT_BYTES:
        raise TooLarge(f"{command.task}: arguments are {len(args)} bytes, the limit is {ARGS_LIMIT_BYTES}")
    chosen = command.priority if priority is None else priority
    if not 0 <= chosen < PRIORITIES:
        raise BadInput(f"priority is {chosen}, it must be from 0 to {PRIORITIES - 1}", pointer="/priority")
    if "/" in tenant:
        raise BadInput("a tenant has no / in it", pointer="/tenant", found=tenant[:100])
    if lane is not None and not is_lane_name(lane):
        words = f"a lane's name is 1 to {NAME_MOST_CHARS} printable characters without /"
        raise BadInput(words, pointer="/lane", found=lane[:NAME_MOST_CHARS])
    rule = command.unique if unique is None else unique
    if rule:
        seams["unique_key"] = rule.key_of(command.task, tenant, command.model_dump(mode="json"))
        until = None if rule.window_s is None else after_us(now_us, rule.window_s)
        seams["sole"] = Sole(rule.on_conflict, until, None if run_at is None else max(run_at, now_us), priority)
    return NewJob(
        task=command.task,
        queue=command.queue,
        args=args,
        tenant=tenant,
        max_attempts=max_attempts or command.retry.max_attempts,
        timeout_s=timeout_s or command.timeout_s,
        run_at=now_us if run_at is None else run_at,
        created_at=now_us,
        priority=chosen,
        lane=lane,
        **seams,
    )


INSERT_JOBS = Statement(
    "insert_jobs",
    """
    INSERT INTO job (id, queue, task, args, tenant, priority, lane, run_at, state, fence, attempt, max_attempts,
                     crashes, releases, timeout_s, trace, parent, unique_key, waits_for, due, created_at)
    SELECT id, queue, task, args, tenant, priority, lane, run_at, 'ready', 0, 0, max_attempts,
           0, 0, timeout_s, trace, parent, unique_key, waits_for, run_at <= created_at AND waits_for = 0, created_at
      FROM {rows} AS i WHERE true
    ON CONFLICT (id) DO NOTHING
    """,
    rows={
        "id": "text", "queue": "text", "task": "text", "args": "text", "tenant": "text", "priority": "smallint",
        "lane": "text", "run_at": "bigint", "max_attempts": "integer", "timeout_s": "float8", "trace": "text",
        "parent": "text", "unique_key": "text", "waits_for": "integer", "created_at": "bigint",
    },
)  # fmt: skip

INSERT_TALLY = Statement(
    "insert_tally",
    "INSERT INTO job_tally (id, accepted, purged) VALUES (:id, :accepted, :purged) ON CONFLICT (id) DO NOTHING",
)


async def accept(connection: Connection, jobs: Sequence[NewJob], *, tally_id: str | None = None) -> None:
    """Write the rows, then the tally, in the caller's transaction. Unique jobs are for `store_unique`."""
    for part in acceptance(jobs, tally_id):
        await connection.fetch(*part)


def acceptance(jobs: Sequence[NewJob], tally_id: str | None = None) -> list[Part]:
    """What is to be written in one transaction to accept them: the rows, and the tally last."""
    if not jobs:
        return []
    return [(INSERT_JOBS, None, [job_row(job) for job in jobs]), _tally(len(jobs), tally_id)]


async def count_accepted(connection: Connection, jobs: int, tally_id: str | None = None) -> None:
    await connection.fetch(*_tally(jobs, tally_id))


def _tally(jobs: int, tally_id: str | None) -> Part:
    return INSERT_TALLY, {"id": tally_id or new_id("tly"), "accepted": jobs, "purged": 0}, ()


def job_row(job: NewJob) -> tuple[Any, ...]:
    """In the order of INSERT_JOBS."""
    return (
        job.id, job.queue, job.task, job.args, job.tenant, job.priority, job.lane, job.run_at, job.max_attempts,
        job.timeout_s, job.trace, job.parent, job.unique_key, job.waits_for, job.created_at,
    )  # fmt: skip
