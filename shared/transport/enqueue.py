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
from shared.db.tx import Tx
from shared.ledger.store_accept import NewJob, accept, new_job


async def enqueue(tx: Tx, command: Command, *, tenant: str, run_at: int | None = None, **options: Any) -> str:
    """Accept one command in the caller's transaction; returns the job's id.

    `run_at` is microseconds since the epoch (default: now); options are those of `new_job`. Raises BadInput, TooLarge.
    """
    job = new_job(command, tenant=tenant, now_us=tx.now_us, run_at=run_at, **options)
    await enqueue_all(tx, [job])
    return job.id


async def enqueue_all(tx: Tx, jobs: Sequence[NewJob]) -> None:
    await accept(tx, jobs)
    tx.touched.update(job.queue for job in jobs)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one caller wants durable at once. Every statement must do nothing when repeated (ON CONFLICT DO NOTHING)."""

    jobs: Sequence[NewJob]
    inserts: Sequence[tuple[Statement, Sequence[Sequence[Any]]]] = ()


class Acceptor:
    """Group commit for accepting; at most `max_waiting` callers wait, the others wait for their room."""

    def __init__(self, database: Database, wake: Callable[[str], None], *, max_waiting: int = 5_000) -> None:
        self.database = database
        self._wake = wake
        self._committer: Committer[Accepted, None] = Committer(
            "accept", self._flush, max_batch=200, max_waiting=max_waiting
        )

    async def submit(self, accepted: Accepted) -> None:
        """Return once everything in `accepted` is durable."""
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
        async with self.database.transaction() as connection:
            for statement, rows in merged.items():
                await connection.fetch(statement, None, rows)
            # Named after its first job, so that a group written again counts once.
            await accept(connection, jobs, tally_id=f"tly_{jobs[0].id[4:]}" if jobs else None)
        return [None] * len(group)
