"""For how long a tenant's payloads are kept, when that is shorter than its events: bodies are emptied, rows stay.

The promise is the tenant's to make, so it is firm: a minute after its time (the job runs every minute) a payload is in
no table of the webhooks service any more, also when a delivery still waits for it; that one ends as a dead letter
that says so. A worker that has it in memory forgets it within another minute. Batches walk a tenant's events
from where the last one ended, so what was emptied is not looked at again.
"""

from typing import Final

from services.webhooks import store_keeping as store
from shared.db.reading import looking
from shared.kernel.clock import SECOND_US
from shared.runtime.resources import Resources
from shared.transport.attempt import Attempt

BUDGET_SHARE: Final = 0.75
TENANTS_ROWS: Final = 500


async def erase(attempt: Attempt, resources: Resources, *, batch: int) -> int:
    """How many bodies; what there was no time for is left to the next run."""
    clock, erased, after = resources.database.clock, 0, ""
    until_s = clock.monotonic_s() + attempt.claim.timeout_s * BUDGET_SHARE
    while True:
        async with looking(resources.database) as connection:
            tenants = await store.tenants(connection, after, TENANTS_ROWS)
        for row in tenants:
            position, more = row["erased_to"], True
            while more:
                if attempt.is_stopping or clock.monotonic_s() > until_s:
                    return erased
                before_us = clock.now_us() - row["payload_keep_s"] * SECOND_US
                async with resources.tx() as tx:
                    count, position, more = await store.erase_next(tx, row["tenant"], position, before_us, batch)
                erased += count
        if len(tenants) < TENANTS_ROWS:
            return erased
        after = tenants[-1]["tenant"]
