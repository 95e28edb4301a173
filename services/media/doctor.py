"""The doctor's look at media's storage: an object is written, read and removed; a local disk has room for uploads."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from services.media.blobs import Blobs
from services.media.settings import MediaSettings
from shared.kernel.ids import new_id
from shared.kernel.logs import masked
from shared.kernel.settings import load
from shared.runtime.doctor.finding import Finding, Level, judged, size
from shared.runtime.doctor.subject import Subject

BYTES = b"holdfast doctor"
WANTED = "takes an object and gives it back"


async def examine(subject: Subject) -> list[Finding]:
    settings = load(MediaSettings, **({"storage_url": subject.storage_url} if subject.storage_url else {}))
    url, folder = settings.storage_url, _folder(settings.storage_url)
    if folder is not None and not await asyncio.to_thread(folder.is_dir):  # a look makes nothing
        fix = "make it, for the user that runs media"
        return [Finding("media storage", "fail", f"no folder {folder}", WANTED, fix)]
    try:
        found = await _round_trip(Blobs(url))
    except Exception as error:
        words = masked(" ".join(str(error).split())[:200])
        return [Finding("media storage", "fail", f"{_shown(url)}: {words}", WANTED, "see its address and its rights")]
    level: Level = "ok" if found == BYTES else "fail"
    finding = judged("media storage", level, _shown(url), WANTED, "it gave back other bytes: do not use it")
    if folder is None:
        return [finding]
    return [finding, judge_room(shutil.disk_usage(folder).free, settings)]


def _folder(url: str) -> Path | None:
    """None: a bucket."""
    return Path(url.removeprefix("file://")) if urlsplit(url).scheme in ("", "file") else None


def judge_room(free_bytes: int, settings: MediaSettings) -> Finding:
    """Pure."""
    wanted = settings.disk_reserve_bytes + settings.upload_limit_bytes
    level: Level = "fail" if free_bytes < settings.disk_reserve_bytes else "warn" if free_bytes < wanted else "ok"
    fix = "make room: uploads are refused with 507 below HOLDFAST_MEDIA_DISK_RESERVE_BYTES"
    return judged("media disk", level, f"{size(free_bytes)} free", f"{size(wanted)}: the reserve and one upload", fix)


async def _round_trip(blobs: Blobs) -> bytes:
    async def once() -> AsyncIterator[bytes]:
        yield BYTES

    key = f"doctor/{new_id('doc')}"
    await blobs.put_stream(key, once(), limit_bytes=len(BYTES))
    try:
        blob = await blobs.open(key)
        return b"".join([bytes(chunk) async for chunk in blob.chunks])
    finally:
        await blobs.remove([key])


def _shown(url: str) -> str:
    return masked(url.partition("?")[0])
