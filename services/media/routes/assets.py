"""Assets: upload, look, fetch a rendition, delete."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from services.media import store
from services.media.deps import AssetId, Held, HeldBlobs, HeldSettings, MayRead, MayWrite
from services.media.documents import asset_document
from services.media.presets import CONTENT_TYPES, PRESET_SETS, preset_set
from services.media.uploads import take_in
from shared.contracts.commands.media import DeleteFiles, ProcessAsset
from shared.kernel.clock import after_us
from shared.kernel.errors import NotFound
from shared.kernel.ids import new_id
from shared.ledger.states import TERMINAL
from shared.ledger.store_read import read_job
from shared.runtime.etags import listed
from shared.runtime.idempotency import IdempotentStream
from shared.transport.enqueue import enqueue

router = APIRouter(prefix="/media", tags=["media"])
_ANY_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=202, openapi_extra=_ANY_BODY)
async def upload(
    request: Request,
    caller: MayWrite,
    blobs: HeldBlobs,
    settings: HeldSettings,
    once: IdempotentStream,
    presets: Annotated[str, Query(max_length=64)] = "default",
) -> Response:
    preset_set(presets)
    asset_id = new_id("ast")
    folder = f"assets/{asset_id}"
    taken = await take_in(request, blobs, f"{folder}/source", limit_bytes=settings.upload_limit_bytes)
    try:
        async with once.tx(body_hash=f"{taken.sha256} {presets}") as tx:
            job_id = await enqueue(tx, ProcessAsset(asset_id=asset_id), tenant=caller.tenant)
            await store.insert_asset(
                tx, id=asset_id, tenant=caller.tenant, job_id=job_id, preset_set=presets, source_key=taken.key,
                size_bytes=taken.size_bytes, sha256=taken.sha256,
            )  # fmt: skip
            answer = {"id": asset_id, "job": job_id, "state": "accepted", "size_bytes": taken.size_bytes}
            return once.answer(202, answer, {"Location": f"/v1/media/{asset_id}"})
    except BaseException:
        await blobs.delete_prefix(folder)  # nothing refers to it: a replay, a conflict, a failed commit
        raise


@router.get("/presets")
async def list_presets(_: MayRead) -> dict[str, Any]:
    return {"items": [{"name": name, "presets": [p.wire() for p in presets]} for name, presets in PRESET_SETS.items()]}


@router.get("/{asset_id}")
async def show(asset_id: AssetId, caller: MayRead, resources: Held) -> dict[str, Any]:
    asset = await _asset(resources, asset_id, caller.tenant)
    job = await read_job(resources.database, asset["job_id"], caller.tenant)
    if job is not None and job["state"] in TERMINAL:
        asset = await _asset(
            resources, asset_id, caller.tenant
        )  # they ended together, after our first look at one of them
    return asset_document(asset, job)


@router.get("/{asset_id}/renditions/{name}")
async def rendition(
    request: Request, asset_id: AssetId, name: str, caller: MayRead, resources: Held, blobs: HeldBlobs
) -> Response:
    asset = await _asset(resources, asset_id, caller.tenant)
    made = orjson.loads(asset["renditions"] or "[]")
    found = next((item for item in made if item["name"] == name), None)
    if found is None:
        raise NotFound(f"asset {asset_id} has no rendition {name[:64]}; it has {[item['name'] for item in made]}")
    etag = f'"{found["sha256"]}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=31536000, immutable"}
    if listed(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    blob = await blobs.open(found["key"])
    headers["Content-Length"] = str(blob.size_bytes)
    return StreamingResponse(blob.chunks, media_type=CONTENT_TYPES[found["format"]], headers=headers)


@router.delete("/{asset_id}", status_code=204)
async def delete(asset_id: AssetId, caller: MayWrite, resources: Held, blobs: HeldBlobs) -> Response:
    """The row goes first: a job that still runs finds nothing to finish.

    What it makes until then, and what a crash leaves of the folder, goes with a job that is accepted here and runs
    when that one can run no longer.
    """
    async with resources.tx() as tx:
        if not await store.delete_asset(tx, asset_id, caller.tenant):
            raise NotFound(f"there is no asset {asset_id}")
        later_us = after_us(tx.now_us, 2 * ProcessAsset.timeout_s)
        await enqueue(tx, DeleteFiles(asset_id=asset_id), tenant=caller.tenant, run_at=later_us)
    await blobs.delete_prefix(f"assets/{asset_id}")
    return Response(status_code=204)


async def _asset(resources: Held, asset_id: str, tenant: str) -> Mapping[str, Any]:
    asset = await store.read_asset(resources.database, asset_id, tenant)
    if asset is None:
        raise NotFound(f"there is no asset {asset_id}")
    return asset
