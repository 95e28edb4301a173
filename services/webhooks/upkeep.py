"""Retention of events: old ones go, with the links to their deliveries, once no delivery needs them.

A delivery needs its event while its job may still run: until it has completed or was cancelled, so as long as it
waits, and as long as it is a dead letter. So does the job that makes the deliveries of an event for many endpoints. A
cancelled delivery that somebody runs again after that ends as a dead letter that says so. Endpoints go when their
tenant deletes them, and are bounded for each.
"""

from services.webhooks.settings import WebhooksSettings
from services.webhooks.store_events import event_sweep
from services.webhooks.store_past import past_sweeps
from services.webhooks.store_replay import replay_sweep
from shared.contracts.commands.webhooks import PurgeEvents
from shared.kernel.clock import SECOND_US
from shared.runtime.resources import Resources
from shared.runtime.sweeping import end_swept, sweep_for
from shared.transport.attempt import Attempt


async def purge(attempt: Attempt, resources: Resources, settings: WebhooksSettings, command: PurgeEvents) -> None:
    """End the attempt with its report."""
    before_us = resources.database.clock.now_us() - round(settings.keep_events_s * SECOND_US)
    sweeps = [event_sweep(before_us), replay_sweep(before_us), *past_sweeps(before_us)]
    found = await sweep_for(
        attempt, resources.database, sweeps, batch=settings.purge_batch, at=command.at, after=command.after
    )
    await end_swept(attempt, found, lambda at, after: PurgeEvents(at=at, after=after))
