"""Ways in besides a body: a URL that is fetched, and a bucket that the client writes to itself."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse, Response

from services.media.deps import Held, HeldBlobs, HeldRoom, HeldSettings, MayWrite, UploadId
from services.media.direct import DirectOff, begin_direct, complete_direct, make_offer, sign_again
from services.media.incoming import promise_asset
from services.media.options import Focus, Options, Priority, choose_options
from services.media.routes.uploads import check_length, check_open
from shared.contracts.commands.media import FetchAsset
from shared.kernel.errors import BadInput, NotFound
from shared.runtime.bodies import Body
from shared.runtime.egress import AddressPolicy, EgressRefused, ParsedUrl, check_url
from shared.runtime.examples import body_example, example
from shared.runtime.idempotency import Idempotent, Replay
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/media", tags=["media"], route_class=JsonRoute)
PresetSetName = Annotated[str, Field(min_length=1, max_length=64)]

_PROMISED = example(
    {"id": "ast_01m81s9dmte5srzwdfgsk0cb4q", "job": "job_01m81s9dnhe47s3tch4srt7qc0", "state": "fetching"},
    202, "it is promised: a job brings its bytes",
)  # fmt: skip
_DIRECT = {
    "id": "upl_01m81s9dmte5srzwdfgsk0cb4r", "method": "PUT",
    "url": "https://bucket.s3.eu-central-1.amazonaws.com/uploads/upl_01m81s9dmte5srzwdfgsk0cb4r/direct?X-Amz-Signature=…",
    "url_expires_at": "2026-11-23T09:10:00.000000Z",
    "complete": "/v1/media/direct/upl_01m81s9dmte5srzwdfgsk0cb4r/complete", "expires_at": "2026-11-24T03:10:00.000000Z",
}  # fmt: skip


class FromUrl(Body):
    url: Annotated[str, Field(max_length=2048)]
    presets: PresetSetName = "default"
    priority: Priority = "interactive"
    focus: Focus = None


class Direct(Body):
    size_bytes: Annotated[int, Field(ge=1)]
    presets: PresetSetName = "default"
    priority: Priority = "interactive"
    focus: Focus = None


@router.post(
    "/from-url", status_code=202, responses=_PROMISED, summary="Fetch a file from a URL, and process it",
    openapi_extra=body_example({"url": "https://example.com/photo.jpg", "presets": "default", "priority": "bulk"}),
)  # fmt: skip
async def from_url(body: FromUrl, caller: MayWrite, resources: Held, room: HeldRoom, once: Idempotent) -> Response:
    """What is wrong with the URL itself is answered; what its server does is said on the asset."""
    await once.replay()
    target = _checked(body.url, AddressPolicy.from_cidrs(resources.settings.egress_allow))
    options = await _options(resources, caller.tenant, body)
    await room.promise(body.priority, caller.tenant)
    async with once.tx() as tx:
        asset_id, job_id = await promise_asset(
            tx, caller.tenant, options, lambda asset_id: FetchAsset(asset_id=asset_id, url=target.url),
        )  # fmt: skip
        answer = {"id": asset_id, "job": job_id, "state": "fetching"}
        return once.answer(202, answer, {"Location": f"/v1/media/{asset_id}"})


@router.post(
    "/direct", status_code=201, responses=example(_DIRECT, 201, "where to PUT it"),
    summary="Ask for a URL to which a file can be PUT, straight into the bucket",
    openapi_extra=body_example({"size_bytes": 434616}),
)  # fmt: skip
async def begin(
    body: Direct,
    caller: MayWrite,
    resources: Held,
    blobs: HeldBlobs,
    settings: HeldSettings,
    room: HeldRoom,
    once: Idempotent,
) -> Response:
    if not blobs.signs:
        raise DirectOff("the storage is no bucket: send the file as a body, or in parts")
    clock = resources.database.clock
    try:
        await once.replay()
        check_length(body.size_bytes, settings)
        options = await _options(resources, caller.tenant, body)
        await check_open(resources, caller.tenant, settings)
        await room.promise(body.priority, caller.tenant)
        offer = await make_offer(blobs, settings, clock.now_us())
        async with once.tx() as tx:
            made = await begin_direct(tx, caller.tenant, settings, offer, body.size_bytes, options)
            answer = once.answer(201, made, {"Location": f"/v1/media/uploads/{offer.upload_id}"})
    except Replay as replay:
        made = orjson.loads(replay.response.body)
        return _with_url(replay.response, made, await sign_again(blobs, made, clock.now_us()))
    return _with_url(answer, made, offer.url)


@router.post(
    "/direct/{upload_id}/complete", status_code=202, responses=_PROMISED, summary="Say that the file is in the bucket"
)
async def complete(
    upload_id: UploadId, caller: MayWrite, resources: Held, blobs: HeldBlobs, settings: HeldSettings, once: Idempotent
) -> Response:
    """It is then read, checked and processed by a job of its own; saying it again gives the same asset."""
    await once.replay()
    done = await complete_direct(resources, caller.tenant, blobs, settings, upload_id)
    if done is None:
        raise NotFound(f"there is no direct upload {upload_id}")
    async with once.tx() as tx:
        asset_id, job_id = await done.promise(tx)
        answer = {"id": asset_id, "job": job_id, "state": "fetching"}
        return once.answer(202, answer, {"Location": f"/v1/media/{asset_id}"})


async def _options(resources: Held, tenant: str, body: FromUrl | Direct) -> Options:
    return await choose_options(resources.database, tenant, body.presets, body.priority, body.focus, at="body")


def _with_url(answer: Response, made: Mapping[str, Any], url: str) -> Response:
    kept = {name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")}
    return JSONResponse({**made, "url": url}, answer.status_code, headers=kept)


def _checked(url: str, policy: AddressPolicy) -> ParsedUrl:
    try:
        return check_url(url, policy)
    except EgressRefused as refused:
        words = f"this URL is not fetched: {refused.reason}"
        raise BadInput(words, code="url_refused", pointer="/url", found=url, reason=refused.reason) from None
