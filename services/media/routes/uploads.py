"""Resumable uploads by the tus protocol 1.0: create, ask, append, end. What is whole becomes an asset by itself."""

from collections.abc import Callable, Coroutine, Mapping
from hashlib import blake2b
from typing import Any, get_args

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from services.media import tus
from services.media.deps import Held, HeldBlobs, HeldBuffers, HeldRoom, HeldSettings, MayReadOrWrite, MayWrite, UploadId
from services.media.documents_uploads import upload_document
from services.media.errors import BlobTooLarge
from services.media.intake import EMPTY
from services.media.options import Priority, choose_options
from services.media.parts import Appending, check_end, check_there
from services.media.settings import MediaSettings
from services.media.store_uploads import count_open, drop_upload, insert_upload, read_upload
from services.media.upload_examples import APPEND, APPENDED, CREATE, DESCRIBED, END
from services.media.upload_folders import upload_folder
from services.media.uploads import declared_length
from shared.kernel.clock import after_us, rfc3339
from shared.kernel.errors import BadInput, Conflict, HoldfastError, NotFound, Overloaded, WrongContentType
from shared.kernel.ids import new_id
from shared.runtime.bodies import BodyRefused, SlowBodyError
from shared.runtime.callers import caller_of
from shared.runtime.examples import example
from shared.runtime.idempotency import IdempotentStream, Replay
from shared.runtime.problems import from_error, problem
from shared.runtime.resources import Resources, get_resources

PATH = "/v1/media/uploads"
AGAIN_S = 60
SLOW_AGAIN_S = 1


class TusRoute(APIRoute):
    """Refusals are problems as everywhere, and say the protocol's version as each answer of it must."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                answer = await handler(request)
            except Replay as replay:
                answer = await _as_it_is(request, replay.response)
            except (HoldfastError, HTTPException, RequestValidationError) as error:
                answer = _slow(error) or from_error(error)
                if answer.status_code == 412:
                    answer.headers["Tus-Version"] = tus.VERSION
            answer.headers["Tus-Resumable"] = tus.VERSION
            return answer

        return handle


router = APIRouter(prefix="/media/uploads", tags=["media"], route_class=TusRoute)
_MADE = {"id": "upl_01m81s9dmte5srzwdfgsk0cb4r", "expires_at": "2026-11-24T03:10:00.000000Z"}
_SHOWN = {
    "id": "upl_01m81s9dmte5srzwdfgsk0cb4r", "protocol": "tus", "size_bytes": 73400320, "offset_bytes": 33554432,
    "asset": None, "created_at": "2026-11-23T03:10:00.000000Z", "expires_at": "2026-11-24T03:10:00.000000Z",
}  # fmt: skip


@router.options("", status_code=204, summary="What of the tus protocol is spoken here", responses=DESCRIBED)
async def describe(_: MayWrite, settings: HeldSettings) -> Response:
    return Response(status_code=204, headers=tus.options_headers(settings.upload_limit_bytes))


@router.post(
    "",
    status_code=201,
    responses=example(_MADE, 201, "it is begun: `Location` takes its parts"),
    openapi_extra=CREATE,
    summary="Begin a resumable upload (tus 1.0)",
)
async def create(
    request: Request,
    caller: MayWrite,
    resources: Held,
    blobs: HeldBlobs,
    settings: HeldSettings,
    room: HeldRoom,
    buffers: HeldBuffers,
    once: IdempotentStream,
) -> Response:
    """`Upload-Length`, and `Upload-Metadata` with `presets`, `priority` and `focus` if they are to be other than usual;
    a body of `application/offset+octet-stream` is its first part.
    """
    tus.check_version(request.headers.get("tus-resumable"))
    length = tus.number("Upload-Length", request.headers.get("upload-length"))
    described = request.headers.get("upload-metadata")
    said = tus.metadata(described)
    checksum = tus.checksum(request.headers.get("upload-checksum"))
    fingerprint = blake2b(f"{length} {described}".encode(), digest_size=16).hexdigest()
    await once.replay(body_hash=fingerprint)
    check_length(length, settings)
    if _brings_part(request):
        check_end(declared_length(request) or 0, length)
    presets, focus = said.get("presets", "default"), said.get("focus")
    options = await choose_options(resources.database, caller.tenant, presets, _priority(said), focus, at="header")
    await check_open(resources, caller.tenant, settings)
    await room.promise(options.priority, caller.tenant)
    await blobs.check_room(length)
    upload = {"id": new_id("upl"), "tenant": caller.tenant, "length_bytes": length, "options": options.wire()}
    with buffers.one(caller.tenant, declared_length(request) if _brings_part(request) else 0):
        async with once.tx(body_hash=fingerprint) as tx:
            expires = after_us(tx.now_us, settings.upload_keep_s)
            await insert_upload(tx, **upload, protocol="tus", metadata_text=described, expires=expires)
            headers = {"Location": f"{PATH}/{upload['id']}", **tus.state_headers({"offset_bytes": 0}, expires)}
            answer = once.answer(201, {"id": upload["id"], "expires_at": rfc3339(expires)}, headers)
        if _brings_part(request):
            begun = Appending(
                resources, blobs, settings, {**upload, "offset_bytes": 0, "asset_id": None, "expires_at": expires}, 0
            )
            begun.check(declared_length(request))
            await begun.append(request.stream(), checksum)
            answer.headers.update(_moved_headers(begun))
    return answer


@router.get(
    "/{upload_id}", responses=example(_SHOWN), summary="How far an upload is (HEAD, as tus asks; GET tells more)"
)
async def show(upload_id: UploadId, caller: MayReadOrWrite, resources: Held) -> Response:
    upload = await _upload(resources, upload_id, caller.tenant)
    check_there(upload, resources.database.clock.now_us())
    headers = _state_headers(upload)
    headers["Upload-Length"] = str(upload["length_bytes"])
    if upload["metadata_text"]:
        headers["Upload-Metadata"] = upload["metadata_text"]
    return JSONResponse(upload_document(upload), headers=headers)


@router.patch(
    "/{upload_id}", status_code=204, openapi_extra=APPEND, responses=APPENDED, summary="Bring an upload its next part"
)
async def append(
    request: Request,
    upload_id: UploadId,
    caller: MayWrite,
    resources: Held,
    blobs: HeldBlobs,
    settings: HeldSettings,
    buffers: HeldBuffers,
) -> Response:
    """From `Upload-Offset` on, which must be where the upload is. With the last part the header `Holdfast-Asset` names
    the asset that it has become.
    """
    upload = await _upload(resources, upload_id, caller.tenant)
    if upload["protocol"] != "tus":
        raise NotFound(f"there is no upload {upload_id} that takes parts")
    tus.check_version(request.headers.get("tus-resumable"))
    if not _brings_part(request):
        found = request.headers.get("content-type")
        raise WrongContentType(f"a part is {tus.PART_TYPE}", expected=tus.PART_TYPE, found=found)
    starts = tus.number("Upload-Offset", request.headers.get("upload-offset"))
    checksum = tus.checksum(request.headers.get("upload-checksum"))
    this = Appending(resources, blobs, settings, upload, starts)
    this.check(declared_length(request))
    with buffers.one(caller.tenant, declared_length(request)):
        await this.append(request.stream(), checksum)
    return Response(status_code=204, headers=_moved_headers(this))


@router.delete("/{upload_id}", status_code=204, openapi_extra=END, summary="End an upload, and delete its parts")
async def end(request: Request, upload_id: UploadId, caller: MayWrite, resources: Held, blobs: HeldBlobs) -> Response:
    upload = await _upload(resources, upload_id, caller.tenant)
    if upload["protocol"] == "tus":
        tus.check_version(request.headers.get("tus-resumable"))
    async with resources.tx() as tx:
        gone = await drop_upload(tx, upload_id, caller.tenant)
    if not gone:
        upload = await _upload(resources, upload_id, caller.tenant)
        raise Conflict(f"the upload has become the asset {upload['asset_id']}: delete that", asset=upload["asset_id"])
    await blobs.delete_prefix(upload_folder(upload_id))
    return Response(status_code=204, headers={"Tus-Resumable": tus.VERSION})


def check_length(length: int, settings: MediaSettings) -> None:
    if length == 0:
        raise BadInput(EMPTY, code="empty_body", place="header", pointer="/Upload-Length", found=0)
    if length > settings.upload_limit_bytes:
        words = f"the upload would be {length} bytes, the limit is {settings.upload_limit_bytes}"
        raise BlobTooLarge(words, limit_bytes=settings.upload_limit_bytes, found_bytes=length)


async def check_open(resources: Resources, tenant: str, settings: MediaSettings) -> None:
    """Raises Overloaded while a tenant has as many uploads under way as it may have."""
    most = settings.uploads_max
    if await count_open(resources.database, tenant, resources.database.clock.now_us(), most) >= most:
        words = f"{most} uploads are under way, which is the limit: complete or delete some"
        raise Overloaded(words, code="too_many_uploads", limit=most, retry_after_s=AGAIN_S)


def _slow(error: Exception) -> Response | None:
    """503 for a body that came too slowly, whose upload goes on: clients of tus take any 408 for the end of it."""
    if not (isinstance(error, BodyRefused) and isinstance(error.error, SlowBodyError)):
        return None
    words = f"{error.error.message}; ask for Upload-Offset, and go on from there with smaller parts"
    headers = {"Retry-After": str(SLOW_AGAIN_S), "Connection": "close"}  # the rest would be read as the next request
    return problem(503, "slow_part", words, headers=headers, retry_after_s=SLOW_AGAIN_S)


def _priority(said: Mapping[str, str]) -> Priority:
    found = said.get("priority", "interactive")
    if found not in get_args(Priority):
        words = f"priority in Upload-Metadata must be of {', '.join(get_args(Priority))}"
        raise BadInput(words, place="header", pointer="/Upload-Metadata", found=found)
    return found  # type: ignore[return-value]


def _brings_part(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == tus.PART_TYPE


def _moved_headers(this: Appending) -> dict[str, str]:
    return _state_headers({"offset_bytes": this.offset, "expires_at": this.expires_at, "asset_id": this.asset_id})


def _state_headers(upload: Mapping[str, Any]) -> dict[str, str]:
    headers = tus.state_headers(upload, upload["expires_at"])
    if upload["asset_id"] is not None:
        headers["Holdfast-Asset"] = upload["asset_id"]
    return headers


async def _as_it_is(request: Request, answer: Response) -> Response:
    """A creation that is answered again: the kept answer is of before its part had come, the row says how far it is."""
    upload_id = answer.headers["location"].rpartition("/")[2]
    upload = await read_upload(get_resources(request).database, upload_id, caller_of(request).tenant)
    if upload is not None:
        answer.headers.update(_state_headers(upload))
    return answer


async def _upload(resources: Resources, upload_id: str, tenant: str) -> Mapping[str, Any]:
    upload = await read_upload(resources.database, upload_id, tenant)
    if upload is None:
        raise NotFound(f"there is no upload {upload_id}")
    return upload
