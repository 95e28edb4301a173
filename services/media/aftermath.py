"""Assets whose job the ledger itself has ended: its process died under it too often, or it never came to its end.

No handler was there to say so, which is why a periodic job finds them: the asset gets the job's error and the event
that reports it, in one transaction, once. Invariant: only what is dead by then, and has no error yet.
"""

from typing import Final

import orjson

from services.media.store import fail_asset, hold_asset
from services.media.store_aftermath import read_untold
from services.media.telling import tell
from shared.contracts.events import AssetFailed
from shared.kernel.clock import SECOND_US
from shared.ledger.store_dead import read_ended
from shared.runtime.resources import Resources

PAGE: Final = 100
SETTLE_S: Final = 5.0
"""What a handler has ended has its error in the transaction of that end; this is for clocks that differ."""


async def tell_of_dead(resources: Resources, since_us: int) -> int:
    """Of jobs that have died since then; returns how many assets were told of, PAGE at most."""
    now_us = resources.database.clock.now_us()
    untold = await read_untold(resources.database, since_us, now_us - int(SETTLE_S * SECOND_US), PAGE)
    told = 0
    for row in untold:
        async with resources.tx() as tx:
            asset = await hold_asset(tx, row["id"], row["tenant"])
            job = await read_ended(tx, row["tenant"], row["job_id"])
            if asset is None or asset["error"] is not None or job is None or job["state"] != "dead":
                continue
            error = {"code": row["error_type"] or "dead", "message": row["error_message"] or "its job has died"}
            if await fail_asset(tx, row["id"], row["job_id"], error=orjson.dumps(error).decode()):
                event = AssetFailed(
                    asset_id=row["id"], job_id=row["job_id"], reason=error["code"], message=error["message"]
                )
                await tell(tx, row["tenant"], event)
                told += 1
    return told
