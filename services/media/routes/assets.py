"""Assets: upload, look, fetch a rendition, delete."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services.media import store
from services.media.accepting import accept_asset, queue_for
from services.media.asset_examples import SHOWN, UPLOADED
from services.media.cancelling import cancel_processing
from services.media.deps import AssetId, Held, HeldBlobs, HeldBuffers, HeldRoom, HeldSettings, MayRead, MayWrite
from services.media.documents import asset_document
from services.media.intake import brought_in
from services.media.options import Focus, Priority, choose_options
from services.media.removal import remove_asset
from services.media.sniffing.sniff import Kind
from services.media.sources import settle
from services.media.upload_examples import FILE_BODY
from services.media.uploads import declared_length, take_in
from shared.kernel.errors import Conflict, NotFound
from shared.ledger.states import TERMINAL
from shared.ledger.store_read import read_job
from shared.runtime.examples import example, examples
from shared.runtime.idempotency import IdempotentStream

router = APIRouter(prefix="/media", tags=["media"])


@router.post(
    "", status_code=202, summary="Upload a file, and process it", openapi_extra=FILE_BODY,
    responses=example(UPLOADED, 202),
)  # fmt: skip
async def upload(
    request: Request,
    caller: MayWrite,
    blobs: HeldBlobs,
    settings: HeldSettings,
    resources: Held,
    room: HeldRoom,
    buffers: HeldBuffers,
    once: IdempotentStream,
    presets: Annotated[str, Query(max_length=64)] = "default",
    priority: Annotated[Priority, Query(description="bulk is served when nobody waits for anything else")] = (
        "interactive"
    ),
    focus: Annotated[Focus, Query()] = None,
) -> Response:
    """With an `Idempotency-Key` that has an answer, only whether the file is that one is looked at."""
    known = await once.known()
    options = None if known else await choose_options(resources.database, caller.tenant, presets, priority, focus)

    async def admit(kind: Kind) -> None:
        if not known:
            await room.take(queue_for(kind, priority), caller.tenant)

    with buffers.one(caller.tenant, declared_length(request)):
        taken = await take_in(request, blobs, settings, admit)
    kind = taken.sniffed.kind
    async with brought_in(blobs, taken), once.tx(body_hash=f"{taken.sha256} {presets} {priority} {focus}") as tx:
        if options is None:  # the answer has gone meanwhile
            raise Conflict("the answer to this Idempotency-Key has just gone: send it again", retry_after_s=1)
        source = await settle(tx, caller.tenant, taken)
        asset_id, job_id = await accept_asset(tx, caller.tenant, source, kind, options)
        answer = {"id": asset_id, "job": job_id, "state": "accepted", "size_bytes": taken.size_bytes}
        return once.answer(202, answer, {"Location": f"/v1/media/{asset_id}"})


@router.get("/{asset_id}", summary="Show an asset", responses=examples(SHOWN))
async def show(asset_id: AssetId, caller: MayRead, resources: Held) -> dict[str, Any]:
    asset = await _asset(resources, asset_id, caller.tenant)
    while True:
        job = await read_job(resources.database, asset["job_id"], caller.tenant)
        if job is None or job["state"] not in TERMINAL:
            return asset_document(asset, job)
        # It ended after our first look at the asset, perhaps: what it left there is in a second one, or its successor.
        seen, asset = asset, await _asset(resources, asset_id, caller.tenant)
        if asset["job_id"] == seen["job_id"]:
            return asset_document(asset, job)


@router.delete("/{asset_id}", status_code=204, summary="Delete an asset")
async def delete(asset_id: AssetId, caller: MayWrite, resources: Held, blobs: HeldBlobs) -> Response:
    """The row goes first, and its job is cancelled: one that still runs finds nothing to finish.

    What it makes until then, and what a crash leaves of the folder, goes with a job that is accepted here and runs
    when that one can run no longer.
    """
    async with resources.tx() as tx:
        asset = await store.hold_asset(tx, asset_id, caller.tenant)
        if asset is not None:
            await cancel_processing(tx, resources, caller.tenant, asset["job_id"])
        folders = await remove_asset(tx, asset_id, caller.tenant)
    if not folders:
        raise NotFound(f"there is no asset {asset_id}")
    for folder in folders:
        await blobs.delete_prefix(folder)
    return Response(status_code=204)


async def _asset(resources: Held, asset_id: str, tenant: str) -> Mapping[str, Any]:
    asset = await store.read_asset(resources.database, asset_id, tenant)
    if asset is None:
        raise NotFound(f"there is no asset {asset_id}")
    return asset
