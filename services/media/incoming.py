"""Assets whose bytes are still on their way: promised at once, with a job that brings them, fulfilled by that job.

A promised asset is a row without a source, shown as `fetching`; nothing of it can be processed. The transaction in
which its job ends gives it the source, its kind and the job that makes its renditions: there is always one job that an
asset waits for. Locks are taken on the asset first, then on its source, as everywhere.
"""

from collections.abc import Callable

from services.media.accepting import PRIORITIES, StoredSource, bringing_lane, start_processing, tell_accepted
from services.media.intake import Taken
from services.media.options import Options
from services.media.sources import settle
from services.media.store import insert_asset
from shared.contracts.command import Command
from shared.db.sql import Statement
from shared.db.tx import Tx
from shared.kernel.ids import new_id
from shared.transport.enqueue import enqueue

NO_SOURCE = ""
UNKNOWN_KIND = ""
_LOCK = Statement(
    "lock_promised",
    """
    UPDATE media_assets SET source_key = source_key WHERE id = :id AND source_key = ''
    RETURNING tenant, preset_set, presets, priority
    """,
)
_FULFIL = Statement(
    "fulfil_asset",
    """
    UPDATE media_assets
       SET source_key = :source_key, source_id = :source_id, size_bytes = :size_bytes, sha256 = :sha256, kind = :kind,
           job_id = :job_id, error = NULL
     WHERE id = :id
    """,
)


async def promise_asset(tx: Tx, tenant: str, options: Options, command_of: Callable[[str], Command]) -> tuple[str, str]:
    """(id of the asset, id of the job that brings its bytes). `command_of` makes that one, from the asset's id."""
    asset_id = new_id("ast")
    priority = PRIORITIES[options.priority]
    job_id = await enqueue(tx, command_of(asset_id), tenant=tenant, priority=priority, lane=bringing_lane(tenant))
    await insert_asset(
        tx, id=asset_id, tenant=tenant, job_id=job_id, preset_set=options.preset_set, presets=options.presets,
        priority=options.priority, kind=UNKNOWN_KIND, source_key=NO_SOURCE, source_id=None, size_bytes=0, sha256="",
    )  # fmt: skip
    return asset_id, job_id


async def fulfil(tx: Tx, asset_id: str, taken: Taken) -> str | None:
    """The bytes are there: the job that makes the renditions; None when the asset has been deleted, or has its bytes.

    Without an asset nothing of `taken` counts.
    """
    rows = await tx.fetch(_LOCK, {"id": asset_id})
    if not rows:
        return None
    asset = rows[0]
    source: StoredSource = await settle(tx, asset["tenant"], taken)
    options = Options(asset["preset_set"], asset["presets"], asset["priority"])
    kind = taken.sniffed.kind
    job_id = await start_processing(tx, asset["tenant"], asset_id, kind, options)
    values = {
        "id": asset_id, "source_key": source.key, "source_id": source.id, "size_bytes": source.size_bytes,
        "sha256": source.sha256, "kind": kind, "job_id": job_id,
    }  # fmt: skip
    await tx.fetch(_FULFIL, values)
    await tell_accepted(tx, asset["tenant"], asset_id, job_id, kind, source, options)
    return job_id
