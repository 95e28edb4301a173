"""The jobs that bring a promised asset its bytes: from the parts of an upload, or from a URL.

Both stream through `services.media.intake` into a new source, and commit it with their own end and the job that goes
on; never more of them at once than the process has places for. What is refused for good is said on the asset, as an
event, and in the dead letters; the rest is tried again.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from services.media.blobs import Blobs
from services.media.deps import TheirBlobs, TheirPlaces, TheirResources, TheirSettings, ThisAttempt
from services.media.errors import BlobMissing, BlobTooLarge, StorageFull, UnsupportedFormat
from services.media.fetching import FetchBroken, FetchRefused, fetched
from services.media.incoming import fulfil
from services.media.intake import Taken, brought_in, take
from services.media.outcome import end_failed
from services.media.settings import MediaSettings
from services.media.store_uploads import Part, drop_parts, upload_parts
from services.media.upload_folders import upload_folder
from shared.contracts.command import Command
from shared.contracts.commands.media import AssembleUpload, FetchAsset
from shared.kernel.errors import BadInput
from shared.kernel.logs import get_logger
from shared.runtime.egress import AddressPolicy, EgressRefused
from shared.runtime.resources import Resources
from shared.transport.attempt import Attempt, Discard, Retry

REFUSED = (BadInput, UnsupportedFormat, BlobTooLarge, BlobMissing)
FULL_AGAIN_S = 60.0
log = get_logger(__name__)


async def assemble_upload(
    command: AssembleUpload,
    attempt: ThisAttempt,
    resources: TheirResources,
    blobs: TheirBlobs,
    settings: TheirSettings,
    places: TheirPlaces,
) -> None:
    async with places.one(attempt, resources):
        await _assemble(command, attempt, resources, blobs, settings)


async def fetch_asset(
    command: FetchAsset,
    attempt: ThisAttempt,
    resources: TheirResources,
    blobs: TheirBlobs,
    settings: TheirSettings,
    places: TheirPlaces,
) -> None:
    policy = AddressPolicy.from_cidrs(resources.settings.egress_allow)
    async with places.one(attempt, resources):
        await _bring(command, policy, attempt, blobs, settings)


async def _assemble(
    command: AssembleUpload, attempt: Attempt, resources: Resources, blobs: Blobs, settings: MediaSettings
) -> None:
    parts = await upload_parts(resources.database, command.upload_id)
    total = sum(part.size_bytes for part in parts)
    try:
        if not parts:
            raise BlobMissing("the parts of this upload are not there any more")
        chunks = _watched(_joined(blobs, parts), total, attempt, "putting together")
        taken = await take(blobs, chunks, settings, declared_bytes=total)
    except StorageFull as full:
        raise Retry(FULL_AGAIN_S, full.message) from None
    except REFUSED as refused:
        await end_failed(attempt, command.asset_id, refused)
        async with resources.tx() as tx:
            await drop_parts(tx, command.upload_id)
    else:
        await _end(attempt, blobs, command.asset_id, taken, upload_id=command.upload_id)
    await blobs.delete_prefix(upload_folder(command.upload_id))


async def _bring(
    command: FetchAsset, policy: AddressPolicy, attempt: Attempt, blobs: Blobs, settings: MediaSettings
) -> None:
    try:
        taken = await _fetch(command.url, policy, attempt, blobs, settings)
    except StorageFull as full:
        raise Retry(FULL_AGAIN_S, full.message) from None
    except EgressRefused as refused:
        log.warning("fetch_blocked", reason=refused.reason, host=refused.host, address=refused.address)
        await end_failed(attempt, command.asset_id, _without_address(refused))
        return
    except REFUSED as refused:
        await end_failed(attempt, command.asset_id, refused)
        return
    except FetchBroken as broken:
        if not attempt.is_last:
            raise
        await end_failed(attempt, command.asset_id, broken)
        return
    await _end(attempt, blobs, command.asset_id, taken)


def _without_address(refused: EgressRefused) -> BadInput:
    """What a name leads to inside is the operator's business: the log has it, a tenant is told the reason."""
    words = f"connecting to {refused.host!r} is refused: {refused.reason}"
    return BadInput(words, code=refused.code, reason=refused.reason, host=refused.host)


async def _fetch(url: str, policy: AddressPolicy, attempt: Attempt, blobs: Blobs, settings: MediaSettings) -> Taken:
    async with fetched(url, policy, within_s=settings.fetch_limit_s) as found:
        limit_bytes = settings.upload_limit_bytes
        if found.size_bytes is not None and found.size_bytes > limit_bytes:
            words = f"what the URL names has {found.size_bytes} bytes, the limit is {limit_bytes}"
            raise BlobTooLarge(words, limit_bytes=limit_bytes, found_bytes=found.size_bytes)
        chunks = _watched(found.chunks, found.size_bytes, attempt, "fetching")
        try:
            return await take(blobs, chunks, settings, declared_bytes=found.size_bytes)
        except BadInput as empty:
            if empty.code != "empty_body":
                raise
            raise FetchRefused("what the URL names is empty") from None


async def _end(attempt: Attempt, blobs: Blobs, asset_id: str, taken: Taken, *, upload_id: str | None = None) -> None:
    async with brought_in(blobs, taken), attempt.tx() as tx:
        job_id = await fulfil(tx, asset_id, taken)
        if job_id is None:
            raise Discard("the asset has been deleted, or has its bytes")
        attempt.result = {"asset": asset_id, "job": job_id}
        if upload_id is not None:
            await drop_parts(tx, upload_id)


async def _joined(blobs: Blobs, parts: list[Part]) -> AsyncIterator[bytes]:
    for part in parts:
        blob = await blobs.open(part.key)
        if blob.size_bytes != part.size_bytes:
            words = f"the part at {part.starts} has {blob.size_bytes} bytes, {part.size_bytes} were acknowledged"
            raise BlobMissing(words)
        async for chunk in blob.chunks:
            yield chunk


async def _watched(
    chunks: AsyncIterator[bytes], total: int | None, attempt: Attempt, note: str
) -> AsyncIterator[bytes]:
    """Reports how much of `total` has come."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if total:
            attempt.progress(size / total, note)
        yield chunk


HANDLERS: dict[type[Command], Callable[..., Any]] = {AssembleUpload: assemble_upload, FetchAsset: fetch_asset}
