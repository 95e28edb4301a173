"""The two ways to accept work: inside a transaction with whatever it belongs to, or by group commit on its own.

`enqueue(tx, Command(...))` is the transactional one: the job exists exactly if the caller's rows do. `Acceptor` is
for hot routes: jobs, and rows of the caller's own tables, of many requests become durable in one commit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.contracts.command import Command
from shared.db.committer import Committer
from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.together import Part, write_together
from shared.db.tx import Tx
from shared.kernel.errors import Misconfigured
from shared.ledger.store_accept import NewJob, accept, acceptance, new_job
from shared.ledger.store_unique import Enqueued, accept_unique


async def enqueue(tx: Tx, command: Command, *, tenant: str, run_at: int | None = None, **options: Any) -> str:
    """Accept one command in the caller's transaction; returns the id of the job that stands for it.

    `run_at` is microseconds since the epoch (default: now); options are those of `new_job`. Raises BadInput, TooLarge.
    """
    return (await enqueue_unique(tx, command, tenant=tenant, run_at=run_at, **options)).id


async def enqueue_unique(
    tx: Tx, command: Command, *, tenant: str, run_at: int | None = None, **options: Any
) -> Enqueued:
    """As `enqueue`, and says what was done: `made`, or `kept`, `replaced`, `rescheduled` of one that was there."""
    job = new_job(command, tenant=tenant, now_us=tx.now_us, run_at=run_at, **options)
    return (await enqueue_all(tx, [job]))[0]


async def enqueue_all(tx: Tx, jobs: Sequence[NewJob]) -> list[Enqueued]:
    """In the order of `jobs`."""
    plain = [job for job in jobs if job.unique_key is None]
    await accept(tx, plain)
    tx.touched.update(job.queue for job in jobs)
    if len(plain) == len(jobs):
        return [Enqueued(job.id) for job in jobs]
    unique = [job for job in jobs if job.unique_key is not None]
    placed = {job.id: one for job, one in zip(unique, await accept_unique(tx, unique), strict=True)}
    return [placed.get(job.id) or Enqueued(job.id) for job in jobs]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one caller wants durable at once. Every statement must do nothing when repeated (ON CONFLICT DO NOTHING).

    `alone`: some of them read what those before them have written, so it needs a transaction of its own.
    """

    jobs: Sequence[NewJob]
    inserts: Sequence[tuple[Statement, Sequence[Sequence[Any]]]] = ()
    alone: bool = False


class Acceptor:
    """Group commit for accepting; at most `max_waiting` callers wait, the others wait for their room."""

    def __init__(self, database: Database, wake: Callable[[str], None], *, max_waiting: int = 5_000) -> None:
        self.database = database
        self._wake = wake
        self._committer: Committer[Accepted, None] = Committer(
            "accept", self._flush, max_batch=200, max_waiting=max_waiting
        )

    async def submit(self, accepted: Accepted) -> None:
        """Return once everything in `accepted` is durable. Refuses unique jobs: its caller would not hear of which."""
        if any(job.unique_key is not None for job in accepted.jobs):
            raise Misconfigured(
                "a unique job is enqueued in a transaction: `enqueue(tx, …)` says which job stands for it"
            )
        if accepted.alone:
            raise Misconfigured("what reads its own writes is accepted in a transaction")
        await self._committer.submit(accepted)
        for queue in {job.queue for job in accepted.jobs}:
            self._wake(queue)

    async def settle(self) -> None:
        await self._committer.settle()

    async def _flush(self, group: Sequence[Accepted]) -> Sequence[None]:
        jobs = [job for accepted in group for job in accepted.jobs]
        merged: dict[Statement, list[Sequence[Any]]] = {}
        for accepted in group:
            for statement, rows in accepted.inserts:
                merged.setdefault(statement, []).extend(rows)
        parts: list[Part] = [(statement, None, rows) for statement, rows in merged.items()]
        # Named after its first job, so that a group written again counts once.
        parts += acceptance(jobs, tally_id=f"tly_{jobs[0].id[4:]}" if jobs else None)
        await write_together(self.database, parts)
        return [None] * len(group)
