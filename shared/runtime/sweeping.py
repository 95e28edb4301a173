"""One attempt of a purge: sweeps for a bounded time, ends with its report, leaves the rest to a job of its own.

The report is the job's result: rows that went, by table, and `more`, the job that goes on where this one ended (null
when nothing is left). A process that is to end does not wait for the budget.
"""

from collections.abc import Callable, Sequence

from shared.contracts.command import Command
from shared.contracts.unique import Unique
from shared.db.engine import Database
from shared.db.sweep import Key, Sweep, Swept, sweep_all
from shared.transport.attempt import Attempt
from shared.transport.enqueue import enqueue

SHARE = 0.75  # of the command's time limit
ONE = Unique(key="rest", scope="queue")  # of what waits: two that were cut off leave one rest


async def sweep_for(
    attempt: Attempt, database: Database, sweeps: Sequence[Sweep], *, batch: int, at: str | None, after: Key | None
) -> Swept:
    """From `at` and `after`, until all is done, the attempt's time is up, or its process is to end."""

    def stopping() -> bool:
        return attempt.is_stopping

    budget_s = attempt.claim.timeout_s * SHARE
    return await sweep_all(database, sweeps, batch=batch, budget_s=budget_s, stopping=stopping, at=at, after=after)


async def end_swept(attempt: Attempt, found: Swept, rest: Callable[[str | None, Key | None], Command]) -> None:
    """`rest` makes the command that goes on from a table and a key."""
    async with attempt.tx() as tx:
        more = None
        if found.at is not None:
            more = await enqueue(tx, rest(found.at, found.after), tenant=attempt.tenant, unique=ONE)
        attempt.result = {**found.rows, "more": more}
