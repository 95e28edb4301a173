"""The ledger's tables. Instants are integer microseconds since the epoch; `args`, `result` and `detail` hold JSON text.

`job` is hot and narrow, `job_attempt` is append-only, one row for each fence that a handler started under. Everything
that writes on the hot path is plain SQL in the stores; these models serve migrations, reads and tests.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    SmallInteger,
    Text,
    false,
    text,
)
from sqlmodel import Field

from shared.db.naming import Table, id_text
from shared.ledger.states import STATES
from shared.ledger.store_line import FLOW_KEY

_UNENDED = "state IN ('ready', 'dispatched', 'running')"
_STATE_LIST = ", ".join(f"'{state}'" for state in STATES)


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


class Job(Table, table=True):
    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATE_LIST})", name="state"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        Index(
            "ix_job_line",
            "queue",
            text(f"({FLOW_KEY})"),
            "run_at",
            "id",
            **_where("state = 'ready' AND due"),
        ),
        Index("ix_job_arrived", "queue", "created_at", "id", **_where("state = 'ready' AND due")),
        Index("ix_job_later", "queue", "run_at", "id", **_where("state = 'ready' AND NOT due AND waits_for = 0")),
        Index("ix_job_lane", "queue", "tenant", "lane", "id", **_where(f"lane IS NOT NULL AND {_UNENDED}")),
        Index("uq_job_unique", "unique_key", unique=True, **_where("state IN ('ready', 'dispatched')")),
        Index("ix_job_parent", "parent", "id", **_where("parent IS NOT NULL")),
        Index("ix_job_dispatched", "queue", "id", **_where("state = 'dispatched'")),
        Index("ix_job_running", "incarnation", "id", **_where("state = 'running'")),
        Index("ix_job_dead", "tenant", "id", **_where("state = 'dead'")),
        Index(
            "ix_job_alike",
            "tenant",
            "task",
            "error_fingerprint",
            "finished_at",
            "id",
            **_where("state = 'dead'"),
        ),
        Index("ix_job_died", "finished_at", "id", **_where("state = 'dead'")),
        Index("ix_job_finished", "finished_at", "id", **_where("state IN ('completed', 'cancelled')")),
        Index("ix_job_tenant", "tenant", "id"),
    )

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    queue: str = Field(sa_column=Column(id_text(), nullable=False))
    task: str
    args: str = Field(sa_column=Column(Text, nullable=False))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    priority: int = Field(sa_column=Column(SmallInteger, nullable=False))
    lane: str | None = Field(default=None, sa_column=Column(id_text()))
    run_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    due: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    waits_for: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    counted: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    on_dead: str | None = None
    state: str = Field(sa_column=Column(id_text(), nullable=False))
    fence: int = 0
    attempt: int = 0
    max_attempts: int = 1
    crashes: int = 0
    releases: int = 0
    incarnation: str | None = Field(default=None, sa_column=Column(id_text()))
    timeout_s: float = Field(sa_column=Column(Float, nullable=False))
    deadline: int | None = Field(default=None, sa_column=Column(BigInteger))
    trace: str | None = None
    parent: str | None = None
    unique_key: str | None = None
    cancel_requested_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    dispatched_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    claimed_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    finished_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    result: str | None = Field(default=None, sa_column=Column(Text))
    error_type: str | None = None
    error_message: str | None = Field(default=None, sa_column=Column(Text))
    error_fingerprint: str | None = None
    progress: float | None = Field(default=None, sa_column=Column(Float))
    progress_note: str | None = Field(default=None, sa_column=Column(Text))
    progress_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    output_chunks: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))


class JobAttempt(Table, table=True):
    __tablename__ = "job_attempt"

    job_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    fence: int = Field(primary_key=True)
    incarnation: str | None = None
    started_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    finished_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    outcome: str
    error_type: str | None = None
    error_message: str | None = Field(default=None, sa_column=Column(Text))
    error_trace: str | None = Field(default=None, sa_column=Column(Text))
    detail: str | None = Field(default=None, sa_column=Column(Text))


class JobOutput(Table, table=True):
    """Text that the newest attempt to write any has written, in chunks; append-only, and gone with its job."""

    __tablename__ = "job_output"

    job_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    fence: int = Field(primary_key=True)
    number: int = Field(primary_key=True)
    offset_chars: int
    text: str = Field(sa_column=Column(Text, nullable=False))


class Incarnation(Table, table=True):
    """One boot of one process. `tombstone` says why it is dead; set once, by compare-and-set, never cleared."""

    __tablename__ = "incarnation"

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    queue: str
    role: str
    host: str
    pid: int
    capacity: int = 0
    beat: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    started_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    tombstone: str | None = None
    tombstoned_at: int | None = Field(default=None, sa_column=Column(BigInteger))


class JobTally(Table, table=True):
    """How many jobs were accepted and purged, counted apart from the rows; appended with each, compacted by upkeep."""

    __tablename__ = "job_tally"

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    accepted: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    purged: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class Dedup(Table, table=True):
    """One answer for one key of one scope: an HTTP idempotency key, later a unique job."""

    __tablename__ = "dedup"
    __table_args__ = (Index("ix_dedup_expires_at", "expires_at"),)

    scope: str = Field(sa_column=Column(id_text(), primary_key=True))
    key: str = Field(sa_column=Column(id_text(), primary_key=True))
    fingerprint: str
    status: int | None = None
    headers: str | None = Field(default=None, sa_column=Column(Text))
    body: str | None = Field(default=None, sa_column=Column(Text))
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Lane(Table, table=True):
    """One lane: its `own` limits over those of its jobs' command, and its token bucket, which the relay writes.

    Services say what goes beyond that: nothing of it starts before `held_until` (`held_why` is one word for people),
    and no more than `ceiling` at once, however high the limit is.
    """

    __tablename__ = "lane"

    queue: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), primary_key=True))
    name: str = Field(sa_column=Column(id_text(), primary_key=True))
    own: bool = False
    concurrency: int | None = None
    rate_per_s: float | None = Field(default=None, sa_column=Column(Float))
    burst: int = 1
    ordered: bool = False
    paused_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    tat: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    held_until: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    held_why: str | None = None
    ceiling: int | None = None
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class QueuePause(Table, table=True):
    """A queue that gives out no work until somebody resumes it."""

    __tablename__ = "queue_pause"

    queue: str = Field(sa_column=Column(id_text(), primary_key=True))
    paused_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    paused_by: str


class Action(Table, table=True):
    """What a caller decided about jobs: append-only, read by people. `target` and `outcome` are JSON.

    `job_id` where it was about one job, whose document shows it.
    """

    __tablename__ = "job_action"
    __table_args__ = (
        Index("ix_job_action_tenant", "tenant", "id"),
        Index("ix_job_action_job", "job_id", "id", **_where("job_id IS NOT NULL")),
    )

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    caller: str
    action: str
    job_id: str | None = None
    target: str = Field(sa_column=Column(Text, nullable=False))
    outcome: str = Field(sa_column=Column(Text, nullable=False))
    at: int = Field(sa_column=Column(BigInteger, nullable=False))


class Schedule(Table, table=True):
    """A periodic command: `next_at` is its next tick; whoever writes the tick's row makes its job."""

    __tablename__ = "schedule"

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    task: str
    cron: str
    time_zone: str = "UTC"
    args: str = Field(sa_column=Column(Text, nullable=False))
    missed: str = "once"
    paused: bool = False
    queue: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    tenant: str = Field(default="system", sa_column_kwargs={"server_default": "system"})
    catch_up: int = Field(default=10, sa_column_kwargs={"server_default": "10"})
    source: str = Field(default="code", sa_column_kwargs={"server_default": "code"})
    next_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    updated_at: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))


class CronTick(Table, table=True):
    """A tick that was decided: its job, or none. `missed` ticks before it made no job, and have no row."""

    __tablename__ = "cron_tick"

    schedule_id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tick_at: int = Field(sa_column=Column(BigInteger, primary_key=True))
    job_id: str | None = None
    missed: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))


class ServedTask(Table, table=True):
    """What the worker that began last says of a task: JSON Schema of its arguments, its retry policy as JSON."""

    __tablename__ = "served_task"

    task: str = Field(sa_column=Column(id_text(), primary_key=True))
    queue: str
    args_schema: str = Field(sa_column=Column(Text, nullable=False))
    retry: str = Field(sa_column=Column(Text, nullable=False))
    updated_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class ShadowTask(Table, table=True):
    """A background task that has not ended well: under way, lost with its process, or failed (`error`)."""

    __tablename__ = "shadow_task"

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    function: str
    path: str
    process: str
    started_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    error: str | None = None


class ApiKey(Table, table=True):
    """A caller. `hash` is SHA-256 of a 256-bit random key: such a key needs no slow hash, and is never stored."""

    __tablename__ = "api_key"
    __table_args__ = (Index("uq_api_key_hash", "hash", unique=True),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    name: str
    tenant: str
    scopes: str
    hash: str
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    revoked_at: int | None = Field(default=None, sa_column=Column(BigInteger))
