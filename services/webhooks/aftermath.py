"""Deliveries that the ledger itself has ended: the process died under them too often, or they never came to an end.

No handler was there to tell of them, which is why a periodic job finds them and tells `delivery.exhausted`. The
invariants: what is told has an id made of the delivery's, so it is told once; a delivery of an operational event is
told of never, as everywhere.
"""

from typing import Final

from services.webhooks import operational
from services.webhooks.desk import Desk
from services.webhooks.operational import Report
from services.webhooks.patterns import EXHAUSTED
from services.webhooks.store_aftermath import read_untold
from shared.db.sql import Row
from shared.kernel.clock import SECOND_US
from shared.runtime.resources import Resources

PAGE: Final = 100


async def tell_of_dead(resources: Resources, desk: Desk, since_us: int) -> int:
    """Of deliveries that have died since then; returns how many were told of, PAGE at most."""
    told = 0
    for row in await read_untold(resources.database, since_us, PAGE):
        listeners = await desk.subscribed(row["tenant"], EXHAUSTED)
        async with resources.tx() as tx:
            await operational.tell(tx, [_report(row)], {(row["tenant"], EXHAUSTED): listeners})
        told += 1
    return told


def since(now_us: int, hours: int) -> int:
    return now_us - hours * 3600 * SECOND_US


def _report(row: Row) -> Report:
    data = {
        "delivery_id": row["id"],
        "event_id": row["event_id"],
        "event_type": row["event_type"],
        "endpoint_id": row["endpoint_id"],
        "attempt": row["attempt"],
        "max_attempts": row["max_attempts"],
        "status": None,
        "reason": f"{row['error_type']}: {row['error_message']}",
    }
    return Report(row["tenant"], EXHAUSTED, data, event_id=row["told_as"])
