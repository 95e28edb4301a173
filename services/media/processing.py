"""Processing one asset: its source out of storage, through a slot, and how that ends.

A file that is refused, and whatever else goes wrong for the last time, ends the asset with its reason and an event;
what may go better is tried again. Only the job that the asset names may end it: an older one that somebody runs again
has been replaced by reprocessing, and finds nothing to do.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from services.media.blobs import Blobs
from services.media.errors import ContentQuarantined, MediaError, PoolClosed, PoolFull
from services.media.handover import store_made
from services.media.outcome import end_failed, end_processed, rendition_keys
from services.media.pool import Pool
from services.media.presets import preset_set
from services.media.quarantine import watched
from services.media.settings import MediaSettings
from services.media.store import read_source
from shared.db.engine import Database
from shared.kernel.errors import HoldfastError
from shared.transport.attempt import Attempt, Discard, Retry

FULL_RETRY_S: Final = 1.0


async def process(
    attempt: Attempt, asset_id: str, database: Database, blobs: Blobs, pool: Pool, settings: MediaSettings
) -> None:
    source = await read_source(database, asset_id)
    if source is None:
        raise Discard("the asset has been deleted")
    if source["job_id"] != attempt.job_id:
        raise Discard("the asset is processed by another job")
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        try:
            made = await _made(attempt, source, Path(folder), database, blobs, pool, settings)
            keys = rendition_keys(attempt, asset_id)
            kept = await store_made(blobs, keys, Path(folder), made, presets_of(source))
        except PoolFull as full:
            raise Retry(FULL_RETRY_S, full.message) from None
        except PoolClosed:
            raise  # the process ends: nobody's fault
        except (MediaError, ContentQuarantined) as refused:
            await end_failed(attempt, asset_id, refused)
            return
        except HoldfastError as broken:
            if not attempt.is_last:
                raise
            await end_failed(attempt, asset_id, broken)
            return
        await end_processed(attempt, asset_id, *kept)


async def _made(
    attempt: Attempt,
    source: Mapping[str, Any],
    folder: Path,
    database: Database,
    blobs: Blobs,
    pool: Pool,
    settings: MediaSettings,
) -> Mapping[str, Any]:
    path = await blobs.local_copy(source["source_key"], folder)
    args = {"source": str(path), "directory": str(folder), "presets": presets_of(source)}
    args["limits"] = settings.limits().wire()
    limit_s, bulk = settings.slot_limit_s(source["kind"]), source["priority"] == "bulk"
    async with watched(database, source["tenant"], source["sha256"], most=settings.quarantine_after):
        return await pool.run("renditions", args, timeout_s=limit_s, on_progress=attempt.progress, bulk=bulk)


def presets_of(source: Mapping[str, Any]) -> Any:
    """As they were when the asset was accepted; one of an older version has none of its own."""
    if source["presets"] is None:
        return preset_set(source["preset_set"]).wire()
    return orjson.loads(source["presets"])
