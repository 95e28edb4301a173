"""Renditions and sources as bytes: for API keys, and for whoever has a signed link."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services.media.deps import AssetId, Held, HeldBlobs, HeldLinks, MayRead
from services.media.files import read_files, rendition_names, rendition_of, source_of
from services.media.links import LIFE_MOST_S
from services.media.serving import File, send_file
from services.media.upload_examples import ASKED_BYTES
from shared.kernel.clock import SECOND_US, rfc3339
from shared.runtime.examples import example

router = APIRouter(prefix="/media", tags=["media"])
signed = APIRouter(prefix="/media/files", tags=["media"])
SIGNED = "/v1/media/files/"
_KEPT_S = 3600
_PRIVATE = "private, no-cache"  # asked again by its tag: an asset may be made anew, and deleted
_CONTENT = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "RIFF….WEBPVP8 …"}
}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "the bytes, by the type of what they are", "content": _CONTENT},
    206: {"description": "one range of them", "content": _CONTENT},
    304: {"description": "the client has them"},
    412: {"description": "they are others than `If-Match` says: `version_changed`"},
    416: {"description": "the range is outside of them: `range_not_satisfiable`"},
}
_SENT: dict[str, Any] = {"response_class": Response, "responses": _BYTES, "openapi_extra": ASKED_BYTES}
_LINKED: dict[int | str, dict[str, Any]] = {
    **_BYTES,
    403: {"description": "the link is not signed, or was changed: `link_refused`"},
    410: {"description": "its time is over: `link_expired`"},
}
_OPENED: dict[str, Any] = {**_SENT, "responses": _LINKED}
_LINK = "/v1/media/files/ast_01m81s9dmte5srzwdfgsk0cb4q"
_SIGNED_BY = "?expires=1795407000&signature=2i3V0m5cYk4rQ1m0f3kz8sQmC5x1Y0mJ8b7t6v5w4x0"
_LINKS = {
    "expires_at": "2026-11-23T04:10:00.000000Z",
    "source": f"{_LINK}/source{_SIGNED_BY}",
    "renditions": {name: f"{_LINK}/renditions/{name}{_SIGNED_BY}" for name in ("w320", "w1280")},
}
Expires = Annotated[str | None, Query(max_length=12, description="until when, as Unix time")]
Signature = Annotated[str | None, Query(max_length=100)]


@router.get("/{asset_id}/renditions/{name}", summary="A rendition's bytes", **_SENT)
async def rendition(
    request: Request, asset_id: AssetId, name: str, caller: MayRead, resources: Held, blobs: HeldBlobs
) -> Response:
    asset = await read_files(resources.database, asset_id, caller.tenant)
    return await send_file(request, blobs, rendition_of(asset, name), cache=_PRIVATE)


@router.get("/{asset_id}/source", summary="What was uploaded", **_SENT)
async def source(request: Request, asset_id: AssetId, caller: MayRead, resources: Held, blobs: HeldBlobs) -> Response:
    asset = await read_files(resources.database, asset_id, caller.tenant)
    return await send_file(request, blobs, source_of(asset), cache=_PRIVATE)


@router.get(
    "/{asset_id}/links",
    responses=example(_LINKS),
    summary="Links to an asset's files that work without a key, for a while",
)
async def links(
    asset_id: AssetId,
    caller: MayRead,
    resources: Held,
    signer: HeldLinks,
    for_s: Annotated[int, Query(ge=1, le=LIFE_MOST_S, description="how long they work, in seconds")] = 3600,
) -> dict[str, Any]:
    asset = await read_files(resources.database, asset_id, caller.tenant)
    ends_s = resources.database.clock.now_us() // SECOND_US + for_s
    renditions = {name: f"{SIGNED}{asset_id}/renditions/{name}" for name in rendition_names(asset)}
    return {
        "expires_at": rfc3339(ends_s * SECOND_US),
        "source": signer.sign(f"{SIGNED}{asset_id}/source", ends_s) if asset["source_key"] else None,
        "renditions": {name: signer.sign(path, ends_s) for name, path in renditions.items()},
    }


@signed.get("/{asset_id}/renditions/{name}", summary="A rendition, by a signed link", **_OPENED)
async def linked_rendition(
    request: Request, asset_id: AssetId, name: str, resources: Held, blobs: HeldBlobs, signer: HeldLinks,
    expires: Expires = None, signature: Signature = None,
) -> Response:  # fmt: skip
    now_us = resources.database.clock.now_us()
    ends_s = signer.check(request.scope["path"], expires, signature, now_us)
    asset = await read_files(resources.database, asset_id, None)
    return await _send(request, blobs, rendition_of(asset, name), ends_s, now_us)


@signed.get("/{asset_id}/source", summary="An upload, by a signed link", **_OPENED)
async def linked_source(
    request: Request, asset_id: AssetId, resources: Held, blobs: HeldBlobs, signer: HeldLinks,
    expires: Expires = None, signature: Signature = None,
) -> Response:  # fmt: skip
    now_us = resources.database.clock.now_us()
    ends_s = signer.check(request.scope["path"], expires, signature, now_us)
    asset = await read_files(resources.database, asset_id, None)
    return await _send(request, blobs, source_of(asset), ends_s, now_us)


async def _send(request: Request, blobs: HeldBlobs, file: File, ends_s: int, now_us: int) -> Response:
    """No cache keeps it for longer than the link would have worked."""
    kept_s = min(_KEPT_S, max(0, ends_s - now_us // SECOND_US))
    return await send_file(request, blobs, file, cache=f"public, max-age={kept_s}")
