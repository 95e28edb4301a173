"""Accepting an asset: the one place where its row, its job and the event that tells of it come to be, together.

However its bytes came, they are stored before this; nothing is visible until the caller's transaction commits. The
kind decides the lane and the time that the job may take; kind and priority decide the queue: pictures that somebody
waits for have slots of their own, and never stand behind a film or a batch.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from services.media.options import Options, Priority
from services.media.store import insert_asset, reprocess_asset
from services.media.telling import tell
from shared.contracts.commands.media import ProcessAsset, ProcessInBulk
from shared.contracts.events import AssetAccepted
from shared.db.tx import Tx
from shared.kernel.ids import new_id
from shared.transport.enqueue import enqueue

Kind = Literal["image", "video", "audio"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PRIORITIES: Final = {"interactive": 3, "bulk": 6}
TIMEOUTS_S: Final[dict[Kind, float]] = {"image": 60.0, "video": 3_600.0, "audio": 1_200.0}
"""Of a job, with everything that it fetches and stores; the time in a slot is bounded by a setting of the worker."""


class StoredSource(NamedTuple):
    """Bytes that are in storage under `key`; `id` is their row's in `media_sources`, None when they have none."""

    key: str
    size_bytes: int
    sha256: str
    id: str | None = None


async def accept_asset(
    tx: Tx, tenant: str, source: StoredSource, kind: Kind, options: Options, *, asset_id: str | None = None
) -> tuple[str, str]:
    """(id of the asset, id of its job); both exist exactly if `tx` commits. `asset_id`: one that was promised before.

    Whether there is room for another asset is asked before its bytes are taken in, not here.
    """
    asset_id = asset_id or new_id("ast")
    job_id = await start_processing(tx, tenant, asset_id, kind, options)
    await insert_asset(
        tx, id=asset_id, tenant=tenant, job_id=job_id, preset_set=options.preset_set, presets=options.presets,
        priority=options.priority, kind=kind, source_key=source.key, source_id=source.id,
        size_bytes=source.size_bytes, sha256=source.sha256,
    )  # fmt: skip
    await tell_accepted(tx, tenant, asset_id, job_id, kind, source, options)
    return asset_id, job_id


async def accept_again(tx: Tx, tenant: str, asset: Mapping[str, Any], options: Options) -> str:
    """Process an asset (its row, held by `tx`) anew; returns the id of the job. What it shows stays until that ends."""
    job_id = await start_processing(tx, tenant, asset["id"], asset["kind"], options)
    await reprocess_asset(
        tx, id=asset["id"], job_id=job_id, preset_set=options.preset_set, presets=options.presets,
        priority=options.priority,
    )  # fmt: skip
    source = StoredSource(asset["source_key"], asset["size_bytes"], asset["sha256"], asset["source_id"])
    await tell_accepted(tx, tenant, asset["id"], job_id, asset["kind"], source, options)
    return job_id


async def start_processing(tx: Tx, tenant: str, asset_id: str, kind: Kind, options: Options) -> str:
    """The job that makes the renditions of an asset; returns its id."""
    command = _command(kind, options.priority)(asset_id=asset_id)
    priority = PRIORITIES[options.priority]
    return await enqueue(tx, command, tenant=tenant, lane=kind, priority=priority, timeout_s=TIMEOUTS_S[kind])


def queue_for(kind: Kind, priority: Priority) -> str:
    """Where such an asset waits: for `Room.take`."""
    return _command(kind, priority).queue


def bringing_lane(tenant: str) -> str:
    """Of the jobs that bring the bytes of a tenant's promised assets."""
    return f"bring:{tenant}"


def _command(kind: Kind, priority: Priority) -> type[ProcessAsset | ProcessInBulk]:
    return ProcessAsset if kind == "image" and priority == "interactive" else ProcessInBulk


async def tell_accepted(
    tx: Tx, tenant: str, asset_id: str, job_id: str, kind: Kind, source: StoredSource, options: Options
) -> None:
    event = AssetAccepted(
        asset_id=asset_id, job_id=job_id, kind=kind, size_bytes=source.size_bytes, sha256=source.sha256,
        preset_set=options.preset_set, priority=options.priority,
    )  # fmt: skip
    await tell(tx, tenant, event)
