"""How an asset ends: its row, its job's end and the event that reports it, in one transaction.

Renditions are stored under keys that carry the job and the attempt's fence, so a stale attempt can never replace what
a newer one has published; only the row makes them count. What was there before is shown until then, and its files go
by a job that is accepted with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from services.media.handover import names
from services.media.store import fail_asset, hold_asset, publish_asset
from services.media.telling import tell
from shared.contracts.commands.media import DeleteRenditions
from shared.contracts.events import AssetFailed, AssetProcessed, Rendition
from shared.kernel.clock import after_us
from shared.kernel.errors import HoldfastError
from shared.transport.attempt import Attempt, Discard
from shared.transport.enqueue import enqueue

OLD_KEPT_S: Final = 60.0
"""For whoever has read the row and is about to read a file."""


def rendition_keys(attempt: Attempt, asset_id: str) -> str:
    """Where an attempt stores what it has made."""
    return f"assets/{asset_id}/renditions/{attempt.job_id}-{attempt.claim.fence}"


async def end_processed(
    attempt: Attempt, asset_id: str, probe: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]
) -> None:
    """`kept`: the renditions as they are stored. Only now is a film without pictures known as a sound."""
    kind = probe["kind"]
    event = AssetProcessed(
        asset_id=asset_id, job_id=attempt.job_id, kind=kind,
        renditions=tuple(Rendition.model_validate(item) for item in kept),
    )  # fmt: skip
    attempt.result = {"renditions": names(kept)}
    attempt.progress(1.0, "stored")
    async with attempt.tx() as tx:
        before = await hold_asset(tx, asset_id, attempt.tenant)
        shown = {"kind": kind, "probe": orjson.dumps(probe).decode(), "renditions": orjson.dumps(kept).decode()}
        if before is None or not await publish_asset(tx, asset_id, attempt.job_id, **shown):
            raise Discard("the asset has been deleted, or is processed by another job")
        old = tuple(item["key"] for item in orjson.loads(before["renditions"] or "[]"))
        if old:
            command = DeleteRenditions(asset_id=asset_id, keys=old)
            await enqueue(tx, command, tenant=attempt.tenant, run_at=after_us(tx.now_us, OLD_KEPT_S))
        await tell(tx, attempt.tenant, event)


async def end_failed(attempt: Attempt, asset_id: str, error: HoldfastError) -> None:
    """The job goes to the dead letters; the asset says why, and so does the event."""
    event = AssetFailed(asset_id=asset_id, job_id=attempt.job_id, reason=error.code, message=error.message)
    async with attempt.tx(dead=f"{error.code}: {error.message}") as tx:
        told = orjson.dumps({"code": error.code, "message": error.message, **error.details}, default=str).decode()
        if not await fail_asset(tx, asset_id, attempt.job_id, error=told):
            raise Discard("the asset has been deleted, or is processed by another job")
        await tell(tx, attempt.tenant, event)
