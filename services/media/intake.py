"""Bytes on their way in: judged by their first ones, bounded by their kind, hashed, stored under a key nobody knows.

Every way in ends here: a body, a form, parts, a URL, a bucket. Invariants: nothing is stored whose kind is not taken;
what is stored counts only once a row of `media_sources` says so (`services.media.sources`), and `brought_in` deletes it
when it is known that none ever will. Refuses empty contents, unknown kinds (415), and what passes its kind's limit.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.media.blobs import Blobs
from services.media.errors import BlobTooLarge, UnsupportedFormat
from services.media.settings import MediaSettings
from services.media.sniffing.sniff import HEAD_BYTES, Kind, Sniffed, kind_of, refusal_of
from shared.kernel.errors import BadInput
from shared.kernel.ids import new_id

ROOT = "sources"
EMPTY = "the body is empty: send the file's bytes, or a form with one file"
Admit = Callable[[Kind], Awaitable[None]]
"""Asked once the kind is known, before anything is stored; raises when there is no room for another of it."""


@dataclass(slots=True)
class Taken:
    """Bytes in storage that nothing refers to yet. `id` would be their source's; `counts`: it is.

    `committing`: the transaction that makes them count may have been committed, whatever it raised.
    """

    id: str
    key: str
    size_bytes: int
    sha256: str
    sniffed: Sniffed
    counts: bool = field(default=False, compare=False)
    committing: bool = field(default=False, compare=False)

    @property
    def folder(self) -> str:
        return source_folder(self.id)


def source_folder(source_id: str) -> str:
    return f"{ROOT}/{source_id}"


def most_bytes(settings: MediaSettings, kind: Kind) -> int:
    """What a file of this kind may have: the kind's own limit, and that of all uploads."""
    limits = settings.limits()
    own = {
        "image": limits.image.size_bytes, "video": limits.video.size_bytes, "audio": limits.audio.size_bytes,
    }  # fmt: skip
    return min(settings.upload_limit_bytes, own[kind])


class Screen:
    """Hands a stream on once its first bytes have told what it is, and it may be so large; `sniffed` is that then.

    `declared_bytes` is what the whole is said to have: over its kind's limit it is refused before anything is stored,
    and so is what `admit` does not let in.
    """

    def __init__(
        self,
        chunks: AsyncIterable[bytes],
        settings: MediaSettings,
        *,
        declared_bytes: int | None = None,
        admit: Admit | None = None,
    ) -> None:
        self._chunks = chunks
        self._settings = settings
        self._declared_bytes = declared_bytes
        self._admit = admit
        self._limit_bytes = settings.upload_limit_bytes
        self._size_bytes = 0
        self.sniffed: Sniffed | None = None

    async def stream(self) -> AsyncIterator[bytes]:
        """Raises BadInput (empty_body), UnsupportedFormat, BlobTooLarge, and what the stream does."""
        head = b""
        async for chunk in self._chunks:
            self._size_bytes += len(chunk)
            passed = chunk
            if self.sniffed is None:
                head += chunk
                if len(head) < HEAD_BYTES:
                    continue
                await self._decide(head)
                passed = head
            self._check(self._size_bytes)
            yield passed
        if self.sniffed is None:
            await self._decide(head)
            self._check(self._size_bytes)
            yield head

    async def _decide(self, head: bytes) -> None:
        self.sniffed = recognised(head)
        self._limit_bytes = most_bytes(self._settings, self.sniffed.kind)
        if self._declared_bytes is not None:
            self._check(self._declared_bytes, least="")
        if self._admit is not None:
            await self._admit(self.sniffed.kind)

    def _check(self, size_bytes: int, least: str = "at least ") -> None:
        if size_bytes > self._limit_bytes:
            raise too_large(least, size_bytes, self._limit_bytes, self.sniffed)


def recognised(head: bytes) -> Sniffed:
    """What a content is by its first bytes. Raises BadInput (empty_body), UnsupportedFormat."""
    if not head:
        raise BadInput(EMPTY, code="empty_body")
    found = kind_of(head)
    if found is None:
        refused = refusal_of(head)
        raise UnsupportedFormat(refused.message, **refused.details)
    return found


def too_large(least: str, size_bytes: int, limit_bytes: int, sniffed: Sniffed | None) -> BlobTooLarge:
    what = f"of {sniffed.kind} " if sniffed is not None else ""
    return BlobTooLarge(
        f"the body {what}is {least}{size_bytes} bytes, the limit is {limit_bytes}",
        limit_bytes=limit_bytes, found_bytes=size_bytes,
    )  # fmt: skip


async def take(
    blobs: Blobs,
    chunks: AsyncIterable[bytes],
    settings: MediaSettings,
    *,
    declared_bytes: int | None = None,
    admit: Admit | None = None,
) -> Taken:
    """Store a stream as what may become a source. Raises what `Screen` does, and StorageFull: nothing is stored."""
    await blobs.check_room(declared_bytes or 0)
    source_id = new_id("src")
    key = f"{source_folder(source_id)}/source"
    screen = Screen(chunks, settings, declared_bytes=declared_bytes, admit=admit)
    size_bytes, sha256 = await blobs.put_stream(key, screen.stream(), limit_bytes=settings.upload_limit_bytes)
    assert screen.sniffed is not None
    return Taken(source_id, key, size_bytes, sha256, screen.sniffed)


@asynccontextmanager
async def brought_in(blobs: Blobs, taken: Taken) -> AsyncIterator[None]:
    """Around the transaction that may make a row count for these bytes; deletes them when it is sure that none does.

    A commit that broke may have happened: those bytes stay, and the nightly sweep looks whether they count.
    """
    try:
        yield
    except BaseException:
        if not taken.committing:
            await blobs.delete_prefix(taken.folder)
        raise
    if not taken.counts:
        await blobs.delete_prefix(taken.folder)
