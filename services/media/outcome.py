"""How an asset ends: its row, its job's end and the event that reports it, in one transaction.

Renditions are stored under keys that carry the attempt's fence, so a stale attempt can never replace what a newer one
has published; only the row makes them count.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from services.media.blobs import Blobs
from services.media.store import finish_asset
from shared.contracts.commands.webhooks import PublishEvent
from shared.contracts.events import AssetFailed, AssetProcessed, Event, Rendition
from shared.db.tx import Tx
from shared.kernel.clock import rfc3339
from shared.kernel.errors import HoldfastError
from shared.kernel.ids import new_id
from shared.transport.attempt import Attempt, Discard
from shared.transport.enqueue import enqueue


async def end_processed(attempt: Attempt, asset_id: str, blobs: Blobs, made: Mapping[str, Any]) -> None:
    """`made` is what the slot returned: {probe, renditions: [{…, path}]}."""
    folder = f"assets/{asset_id}/renditions/{attempt.claim.fence}"
    kept = []
    for item in made["renditions"]:
        key = f"{folder}/{item['name']}.{item['format']}"
        await blobs.put_file(key, Path(item["path"]))
        kept.append({**{name: value for name, value in item.items() if name != "path"}, "key": key})
    event = AssetProcessed(
        asset_id=asset_id, job_id=attempt.job_id, renditions=tuple(Rendition.model_validate(item) for item in kept)
    )
    attempt.result = {"renditions": [item["name"] for item in kept]}
    attempt.progress(1.0, "stored")
    async with attempt.tx() as tx:
        probe, renditions = orjson.dumps(made["probe"]).decode(), orjson.dumps(kept).decode()
        if not await finish_asset(tx, asset_id, probe=probe, renditions=renditions):
            raise Discard("the asset has been deleted")
        await _publish(tx, attempt, event)


async def end_failed(attempt: Attempt, asset_id: str, error: HoldfastError) -> None:
    """The job goes to the dead letters; the asset says why, and so does the event."""
    event = AssetFailed(asset_id=asset_id, job_id=attempt.job_id, reason=error.code, message=error.message)
    async with attempt.tx(dead=f"{error.code}: {error.message}") as tx:
        told = orjson.dumps({"code": error.code, "message": error.message}).decode()
        if not await finish_asset(tx, asset_id, error=told):
            raise Discard("the asset has been deleted")
        await _publish(tx, attempt, event)


async def _publish(tx: Tx, attempt: Attempt, event: Event) -> None:
    command = PublishEvent(
        event_id=new_id("evt"),
        type=event.type,
        data=event.model_dump(mode="json"),
        occurred_at=rfc3339(tx.now_us) or "",
    )
    await enqueue(tx, command, tenant=attempt.tenant)
