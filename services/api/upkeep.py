"""Retention of the ledger and of the api service's own tables: what may go, and for how long it is kept.

Each kind of row in bounded batches, safe to run by many, and to stop between any two.
"""

from services.api.hours import purge_before
from services.api.settings import ApiSettings
from services.api.store_hours import hour_sweep, read_mark
from services.api.store_sync import deleted_sweep
from shared.contracts.commands.api import PurgeHistory
from shared.db.sweep import Sweep
from shared.kernel.clock import SECOND_US
from shared.ledger.store_retention import TALLY_REST_S, compact_tally, ledger_sweeps
from shared.runtime.resources import Resources
from shared.runtime.sweeping import end_swept, sweep_for
from shared.transport.attempt import Attempt


def sweeps(settings: ApiSettings, now_us: int, mark_us: int | None = None) -> tuple[Sweep, ...]:
    """`mark_us`: how far hours are counted; jobs that are not counted yet stay a while longer."""
    keep_us = round(settings.keep_finished_s * SECOND_US)
    before_us = purge_before(now_us, keep_us, mark_us)
    return (
        *ledger_sweeps(
            now_us,
            keep_finished_s=(now_us - before_us) / SECOND_US,
            keep_attempts_s=settings.keep_attempts_s,
            keep_actions_s=settings.keep_actions_s,
        ),
        hour_sweep(now_us - round(settings.keep_hours_s * SECOND_US)),
        deleted_sweep(now_us - round(settings.keep_deleted_s * SECOND_US)),
    )


async def purge(attempt: Attempt, resources: Resources, settings: ApiSettings, command: PurgeHistory) -> None:
    """End the attempt with its report."""
    database = resources.database
    now_us = database.clock.now_us()
    chosen = sweeps(settings, now_us, await read_mark(database))
    found = await sweep_for(attempt, database, chosen, batch=settings.purge_batch, at=command.at, after=command.after)
    if found.at is None:
        found.rows["job_tally"] = await compact_tally(database, now_us - round(TALLY_REST_S * SECOND_US))
    await end_swept(attempt, found, lambda at, after: PurgeHistory(at=at, after=after))
