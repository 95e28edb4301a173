"""Uploads in parts: what one request brings is stored in objects of its own, and counts from the commit of its offset.

Invariants: the offset that a client is told is in the database, with the row of the object that holds those bytes; two
requests at one offset cannot both move it, and the loser's objects go; a request that breaks off keeps what has come,
up to the last byte. Long requests are cut into pieces, so that a process that is killed loses at most one of them.
With the last part the upload becomes an asset in the same transaction, whose job puts the parts together.

Refuses another offset (409), what is longer than was said (413, before a byte of it is read if its length is declared),
contents of a kind that is not taken (415), and parts whose checksum is another (460).
"""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect

from services.media.blobs import Blobs
from services.media.errors import BlobTooLarge
from services.media.incoming import promise_asset
from services.media.intake import most_bytes, recognised, too_large
from services.media.options import Options
from services.media.settings import MediaSettings
from services.media.sniffing.sniff import HEAD_BYTES, kind_of
from services.media.store_uploads import Part, complete_upload, drop_unbegun, move_upload, read_upload_in
from services.media.upload_folders import upload_folder
from shared.contracts.commands.media import AssembleUpload
from shared.kernel.clock import after_us
from shared.kernel.errors import Conflict, HoldfastError, NotFound, TooLarge
from shared.kernel.ids import new_id
from shared.runtime.bodies import BodyRefused
from shared.runtime.resources import Resources

PIECE_BYTES = 16 * 1024 * 1024
PARTS_MOST = 10_000


class Gone(HoldfastError):
    status = 410
    code = "upload_expired"


class OffsetConflict(Conflict):
    code = "wrong_offset"


class ChecksumMismatch(HoldfastError):
    status = 460
    code = "checksum_mismatch"


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a part is said to have: `algorithm` as hashlib names it."""

    algorithm: str
    digest: bytes

    def begin(self) -> Any:
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def check(self, found: Any) -> None:
        """Raises ChecksumMismatch."""
        if found.digest() != self.digest:
            raise ChecksumMismatch(f"the {self.algorithm} of what came is another; nothing was kept")


class Pieces:
    """Cuts a stream into pieces; one that breaks off ends its last piece, and `broke` says what happened."""

    def __init__(self, chunks: AsyncIterable[bytes], piece_bytes: int) -> None:
        self._chunks = aiter(chunks)
        self._piece_bytes = piece_bytes
        self._rest = b""
        self._ended = False
        self.broke: Exception | None = None

    async def more(self) -> bool:
        """Whether there is a byte for another piece."""
        return bool(await self.head(1))

    async def head(self, size: int) -> bytes:
        """What comes next, without taking it: `size` bytes or more, or all that there is."""
        while len(self._rest) < size and not self._ended:
            self._rest += await self._pull()
        return self._rest

    async def piece(self) -> AsyncIterator[bytes]:
        room = self._piece_bytes
        while room:
            chunk, self._rest = self._rest or await self._pull(), b""
            if not chunk and self._ended:
                return
            chunk, self._rest = chunk[:room], chunk[room:]
            room -= len(chunk)
            if chunk:
                yield chunk

    async def _pull(self) -> bytes:
        if self._ended:
            return b""
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._ended = True
        except (ClientDisconnect, BodyRefused) as broke:
            self._ended, self.broke = True, broke
        return b""


class Appending:
    """One request that brings bytes to an upload. `offset`: how far the upload has come by it; `expires_at`: until when
    it may go on, in microseconds.
    """

    def __init__(
        self, resources: Resources, blobs: Blobs, settings: MediaSettings, upload: Mapping[str, Any], starts: int
    ) -> None:
        self._resources = resources
        self._blobs = blobs
        self._settings = settings
        self._upload = upload
        self.offset = starts
        self.expires_at: int = upload["expires_at"]
        self.asset_id: str | None = upload["asset_id"]

    def check(self, declared_bytes: int | None) -> None:
        """Before a byte of the body is read. Raises Gone, OffsetConflict, TooLarge."""
        upload = self._upload
        check_there(upload, self._resources.database.clock.now_us())
        if upload["offset_bytes"] != self.offset:
            raise _moved(self.offset, upload["offset_bytes"])
        check_end(self.offset + (declared_bytes or 0), upload["length_bytes"])

    async def append(self, chunks: AsyncIterable[bytes], checksum: Checksum | None = None) -> None:
        """Raises what `check` does, UnsupportedFormat, BlobTooLarge, StorageFull, ChecksumMismatch; and, after keeping
        what has come (nothing, with a checksum), what broke the body.
        """
        pieces = Pieces(chunks, PIECE_BYTES)
        if self.offset == 0:
            await self._admit(pieces, checksum)
        digest = checksum.begin() if checksum is not None else None
        held: list[Part] = []  # until the checksum of all is known
        at = self.offset
        try:
            while await pieces.more():
                part = await self._store(_hashed(pieces.piece(), digest), at)
                at += part.size_bytes
                if digest is None:
                    await self._acknowledge(part)
                else:
                    held.append(part)
            if checksum is not None and digest is not None and pieces.broke is None:
                checksum.check(digest)
                while held:
                    await self._acknowledge(held.pop(0))
        finally:
            await self._blobs.remove([part.key for part in held])
        if pieces.broke is not None:
            raise pieces.broke

    async def _store(self, piece: AsyncIterable[bytes], at: int) -> Part:
        key = f"{upload_folder(self._upload['id'])}/{new_id('part')}"
        room = self._upload["length_bytes"] - at
        await self._blobs.check_room(min(room, PIECE_BYTES))  # a stream looks at the disk for what comes after that
        try:
            size_bytes, _ = await self._blobs.put_stream(key, piece, limit_bytes=room)
        except BlobTooLarge:
            raise _too_long(at + room + 1, "at least ", self._upload["length_bytes"]) from None
        return Part(at, size_bytes, key)

    async def _acknowledge(self, part: Part) -> None:
        try:
            await self._move(part)
        except HoldfastError:
            await self._blobs.remove([part.key])
            raise
        self.offset = part.starts + part.size_bytes

    async def _move(self, part: Part) -> None:
        upload_id, tenant = self._upload["id"], self._upload["tenant"]
        async with self._resources.tx() as tx:
            expires = after_us(tx.now_us, self._settings.upload_keep_s)
            last = await move_upload(tx, upload_id, tenant, part, parts_most=PARTS_MOST, expires=expires)
            if last is None:
                raise why_not(await read_upload_in(tx, upload_id, tenant), part.starts, tx.now_us, upload_id)
            if last:
                options = Options.parse(self._upload["options"])
                asset_id, _ = await promise_asset(
                    tx, tenant, options, lambda asset_id: AssembleUpload(asset_id=asset_id, upload_id=upload_id)
                )
                await complete_upload(tx, upload_id, asset_id)
                self.asset_id = asset_id
        self.expires_at = expires

    async def _admit(self, pieces: Pieces, checksum: Checksum | None) -> None:
        """What is refused by its first bytes would be so again: its upload ends here, and counts no longer.

        Unless a checksum says that others were sent.
        """
        try:
            self._judge(await pieces.head(HEAD_BYTES))
        except HoldfastError:
            if checksum is not None:
                await self._read_out(pieces, checksum)
            async with self._resources.tx() as tx:
                await drop_unbegun(tx, self._upload["id"], self._upload["tenant"])
            raise

    async def _read_out(self, pieces: Pieces, checksum: Checksum) -> None:
        """The rest of a part of which nothing is kept. Raises ChecksumMismatch, TooLarge, and what broke the body."""
        digest, room = checksum.begin(), self._upload["length_bytes"]
        while await pieces.more():
            async for chunk in _hashed(pieces.piece(), digest):
                room -= len(chunk)
                if room < 0:
                    raise _too_long(self._upload["length_bytes"] + 1, "at least ", self._upload["length_bytes"])
        if pieces.broke is not None:
            raise pieces.broke
        checksum.check(digest)

    def _judge(self, head: bytes) -> None:
        """The first bytes tell what it is, if there are enough of them: the rest is told when all is there."""
        whole = len(head) >= self._upload["length_bytes"]
        if not head or (len(head) < HEAD_BYTES and not whole and kind_of(head) is None):
            return
        sniffed = recognised(head)
        limit_bytes = most_bytes(self._settings, sniffed.kind)
        if self._upload["length_bytes"] > limit_bytes:
            raise too_large("", self._upload["length_bytes"], limit_bytes, sniffed)


def check_end(ends: int, length: int) -> None:
    """Raises TooLarge when an upload of `length` would come to more."""
    if ends > length:
        raise _too_long(ends, "", length)


def check_there(upload: Mapping[str, Any], now_us: int) -> None:
    """Raises Gone. What has become an asset may be asked for as long as its row is there."""
    if upload["asset_id"] is None and upload["expires_at"] <= now_us:
        raise Gone(f"the upload {upload['id']} has expired")


def why_not(upload: Mapping[str, Any] | None, starts: int, now_us: int, upload_id: str) -> HoldfastError:
    """Why an upload was not moved on from `starts`."""
    if upload is None:
        return NotFound(f"there is no upload {upload_id}")
    if upload["offset_bytes"] != starts or upload["asset_id"] is not None:
        return _moved(starts, upload["offset_bytes"])
    if upload["expires_at"] <= now_us:
        return Gone(f"the upload {upload_id} has expired")
    return TooLarge(
        f"an upload has at most {PARTS_MOST} parts: send larger ones", code="too_many_parts", limit=PARTS_MOST
    )


def _too_long(ends: int, least: str, length: int) -> TooLarge:
    words = f"the upload would have {least}{ends} bytes, its Upload-Length is {length}"
    return TooLarge(words, code="body_too_large", limit_bytes=length, found_bytes=ends)


def _moved(starts: int, found: int) -> OffsetConflict:
    return OffsetConflict(f"the upload has come to {found}, this part begins at {starts}", offset_bytes=found)


async def _hashed(chunks: AsyncIterable[bytes], digest: Any) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if digest is not None:
            digest.update(chunk)
        yield chunk
