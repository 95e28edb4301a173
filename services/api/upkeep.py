"""Retention of the ledger and of the api service's own tables: what may go, and for how long it is kept.

Each kind of row in bounded batches, safe to run by many, and to stop between any two.
"""

from services.api.settings import ApiSettings
from shared.contracts.commands.api import PurgeHistory
from shared.db.sweep import Sweep
from shared.kernel.clock import SECOND_US
from shared.ledger.store_retention import TALLY_REST_S, compact_tally, ledger_sweeps
from shared.runtime.resources import Resources
from shared.runtime.sweeping import end_swept, sweep_for
from shared.transport.attempt import Attempt


def sweeps(settings: ApiSettings, now_us: int) -> tuple[Sweep, ...]:
    return ledger_sweeps(
        now_us,
        keep_finished_s=settings.keep_finished_s,
        keep_attempts_s=settings.keep_attempts_s,
        keep_actions_s=settings.keep_actions_s,
    )


async def purge(attempt: Attempt, resources: Resources, settings: ApiSettings, command: PurgeHistory) -> None:
    """End the attempt with its report."""
    database = resources.database
    now_us = database.clock.now_us()
    found = await sweep_for(
        attempt, database, sweeps(settings, now_us), batch=settings.purge_batch, at=command.at, after=command.after
    )
    if found.at is None:
        found.rows["job_tally"] = await compact_tally(database, now_us - round(TALLY_REST_S * SECOND_US))
    await end_swept(attempt, found, lambda at, after: PurgeHistory(at=at, after=after))
