"""Where bytes live: a local directory, S3, GCS or Azure, by one URL, through obstore.

Owns keys and streams; `tally` counts what passes, `local_folder` does what a directory takes besides. Invariants: an
object appears under its key whole or not at all, and only rows in the database make it count, so every upload has a
new key; nothing is held in memory beyond a few chunks. Refuses a stream over its limit (BlobTooLarge, 413), one that
would leave less of a local disk than its reserve (StorageFull, 507), and keys that no server of ours would make
(ValueError: they never come from clients).

What breaks or cancels a stream is told to the store as an error of the stream, so that it ends its multipart upload. A
process that is killed leaves one behind on S3: the bucket needs a lifecycle rule for those.
"""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Literal

import obstore
import obstore.exceptions
from obstore.store import HTTPStore, LocalStore, MemoryStore, ObjectStore, from_url

from services.media import local_folder as folder
from services.media.errors import BlobMissing, StorageFull
from services.media.tally import Tally
from shared.kernel.errors import Misconfigured

CHUNK_BYTES = 256 * 1024
PART_BYTES = 5 * 1024 * 1024
PARTS_AT_ONCE = 2  # each is held in memory until the bucket has it
DELETED_AT_ONCE = 500
WRITTEN_BYTES = 4 * 1024 * 1024  # of a local copy, in one go in a thread
ABORT_LIMIT_S = 5.0  # for the store to end what was cancelled
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class Blob:
    """An opened object: `size_bytes` of the whole, and the bytes `start` (inclusive) to `end` (exclusive) as chunks."""

    size_bytes: int
    start: int
    end: int
    chunks: AsyncIterator[bytes]


class Blobs:
    def __init__(self, url: str, *, reserve_bytes: int = 0, **options: Any) -> None:
        """`url`: a directory (made if absent) or file://, s3://, gs://, az://; `options` go to obstore's store.

        `reserve_bytes` of a local disk stay free, whoever would like to write.
        """
        self._root = folder.local_root(url)  # None: a bucket
        self._reserve_bytes = reserve_bytes
        self._store = _open_store(url, options)

    @property
    def signs(self) -> bool:
        """A client can be sent to the store itself, with a URL from `presign`."""
        return not isinstance(self._store, (LocalStore, MemoryStore))

    async def presign(self, method: Literal["GET", "PUT"], key: str, *, for_s: float) -> str:
        """A URL that does this one thing, for so long, for whoever has it. Only where `signs`; credentials that have
        to be asked for are waited for.
        """
        if isinstance(self._store, (LocalStore, MemoryStore, HTTPStore)):
            raise TypeError("this storage signs nothing")
        return await obstore.sign_async(self._store, method, _checked(key), timedelta(seconds=for_s))

    async def check_room(self, size_bytes: int) -> None:
        """Raises StorageFull when so many bytes more would eat into the reserve of a local disk."""
        if self._root is None or not self._reserve_bytes:
            return
        free_bytes = (await asyncio.to_thread(shutil.disk_usage, self._root)).free
        if free_bytes - size_bytes < self._reserve_bytes:
            text = "the storage has no room for this: of its free space, a reserve has to stay"
            raise StorageFull(text, reserve_bytes=self._reserve_bytes, found_bytes=free_bytes, needed_bytes=size_bytes)

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes], *, limit_bytes: int) -> tuple[int, str]:
        """Store a stream under a new key; (size in bytes, SHA-256 in hex). What `chunks` raises is raised again."""
        tally = Tally(chunks, limit_bytes, self.check_room)
        storing = asyncio.ensure_future(self._put(_checked(key), tally))
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            await self._abort(key, tally, storing)
            raise
        except Exception as error:
            if tally.failure is not None and tally.failure is not error:  # obstore wraps it into its own
                raise tally.failure from None
            raise
        await self._flush(key)
        return tally.size_bytes, tally.digest.hexdigest()

    async def _flush(self, key: str) -> None:
        """A row that names it may outlive a power failure, so it has to: stores in a network see to that themselves."""
        if self._root is not None:
            try:
                await asyncio.to_thread(folder.fsync, self._root, key)
            except FileNotFoundError as error:  # somebody has deleted it meanwhile
                raise BlobMissing(f"there is no stored object {key}") from error

    async def _put(self, key: str, tally: Tally) -> None:
        """What fits into one part of a bucket is one request to it, instead of three."""
        chunks, held = tally.counted(), bytearray()
        if self._root is None:
            async for chunk in chunks:
                held += chunk
                if len(held) >= PART_BYTES:
                    break
            else:
                await obstore.put_async(self._store, key, bytes(held), use_multipart=False)
                return
        await obstore.put_async(
            self._store, key, _chained(bytes(held), chunks), chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )

    async def _abort(self, key: str, tally: Tally, storing: "asyncio.Future[None]") -> None:
        """Cancelling the call itself would leave what S3 has of it; an error of the stream makes the store clean up."""
        tally.stop()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ABORT_LIMIT_S):
                await storing
                await self.remove([key])  # it had ended already

    async def put_file(self, key: str, path: Path) -> int:
        """Store a finished file under a new key; its size in bytes."""
        await obstore.put_async(self._store, _checked(key), path, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        await self._flush(key)
        return await self.size_bytes(key)

    async def open(self, key: str, *, start: int = 0, end: int | None = None) -> Blob:
        """Read an object or a part of it. Raises BlobMissing, and ValueError for a range outside the object."""
        try:
            if start == 0 and end is None:
                got = await obstore.get_async(self._store, _checked(key))
            elif end is None:
                got = await obstore.get_async(self._store, _checked(key), options={"range": {"offset": start}})
            elif start < end:
                got = await obstore.get_async(self._store, _checked(key), options={"range": (start, end)})
            else:
                raise ValueError(f"the range {start}-{end} is empty")
        except FileNotFoundError as error:
            raise BlobMissing(f"there is no stored object {key}") from error
        except obstore.exceptions.BaseError as error:
            size_bytes = await self.size_bytes(key)
            if start >= size_bytes:
                raise ValueError(f"the range starts at {start}; the object has {size_bytes} bytes") from error
            raise
        first, last = got.range
        return Blob(int(got.meta["size"]), first, last, _chunks(got))

    async def size_bytes(self, key: str) -> int:
        """Raises BlobMissing."""
        try:
            return int((await obstore.head_async(self._store, _checked(key)))["size"])
        except FileNotFoundError as error:
            raise BlobMissing(f"there is no stored object {key}") from error

    async def local_copy(self, key: str, directory: Path) -> Path:
        """A file in `directory` for a slot to read, named after the key's last part. Raises BlobMissing.

        Written in a thread: a disk that is slow holds up this copy, and nothing else of the process.
        """
        path = directory / key.rsplit("/", 1)[-1]
        blob = await self.open(key)
        held: list[bytes] = []
        held_bytes = 0
        try:
            with path.open("wb") as file:
                async for chunk in blob.chunks:
                    held.append(chunk)
                    held_bytes += len(chunk)
                    if held_bytes >= WRITTEN_BYTES:
                        await asyncio.to_thread(_write, file, held)
                        held, held_bytes = [], 0
                await asyncio.to_thread(_write, file, held)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    async def delete_prefix(self, prefix: str) -> int:
        """Delete every object under a whole key segment (`a/b` means a/b/…); how many there were."""
        deleted = 0
        async for batch in obstore.list(self._store, prefix=_checked(prefix), chunk_size=500):
            paths = [str(entry["path"]) for entry in batch]
            with contextlib.suppress(FileNotFoundError):  # somebody else deletes the same prefix
                await obstore.delete_async(self._store, paths)
            deleted += len(paths)
        return deleted

    async def folders(self, prefix: str, after: str | None = None) -> AsyncIterator[tuple[str, dict[str, float]]]:
        """The folders under a key segment, in order, beyond the folder `after`: name, and keys with their last change.

        The change is a Unix time in seconds. Of a directory also what was being written when a process died.
        """
        if self._root is not None:
            top = self._root / _checked(prefix)
            for name in sorted(await asyncio.to_thread(folder.names_in, top)):
                if after is None or name > after:
                    found = await asyncio.to_thread(folder.files_in, top / name)
                    yield name, {f"{prefix}/{name}/{path}": changed_s for path, changed_s in found.items()}
            return
        offset = (
            None if after is None else f"{prefix}/{after}0"
        )  # `0` comes after `/`: behind all of that folder's keys
        held: tuple[str, dict[str, float]] | None = None
        async for batch in obstore.list(self._store, prefix=_checked(prefix), offset=offset, chunk_size=500):
            for entry in batch:
                key = str(entry["path"])
                name = key.removeprefix(f"{prefix}/").partition("/")[0]
                if held is None or held[0] != name:
                    if held is not None:
                        yield held
                    held = (name, {})
                held[1][key] = entry["last_modified"].timestamp()
        if held is not None:
            yield held

    async def remove(self, keys: Sequence[str]) -> None:
        """Delete these, which `folders` has given; what is not there any more is no error.

        Also of files that were being written, whose names are no keys; ValueError for a path that may lead elsewhere.
        """
        for key in keys:
            if any(part in ("", ".", "..") for part in key.split("/")):
                raise ValueError(f"{key!r} is no key of ours")
        if self._root is not None:
            await asyncio.to_thread(folder.unlink, self._root, keys)
            return
        for at in range(0, len(keys), DELETED_AT_ONCE):
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, list(keys[at : at + DELETED_AT_ONCE]))


def _write(file: BinaryIO, chunks: Sequence[bytes]) -> None:
    file.writelines(chunks)
    file.flush()  # so that nothing is left for the close, which nobody waits for in a thread


async def _chained(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if head:
        yield head
    async for chunk in chunks:
        yield chunk


async def _chunks(got: "obstore.GetResult") -> AsyncIterator[bytes]:
    async for chunk in got.stream(min_chunk_size=CHUNK_BYTES):
        yield bytes(chunk)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or len(key) > 512:
        raise ValueError(f"{key!r} is no key of ours")
    return key


def _open_store(url: str, options: dict[str, Any]) -> ObjectStore:
    root = folder.local_root(url)
    if root is None:
        try:
            return from_url(url, **options)
        except obstore.exceptions.BaseError as wrong:  # its first line is a sentence, the rest is for who debugs it
            raise Misconfigured(f"the storage cannot be opened: {str(wrong).partition(chr(10))[0]}") from None
    try:
        return LocalStore(root, mkdir=True, automatic_cleanup=True, **options)
    except (OSError, obstore.exceptions.BaseError) as wrong:
        raise Misconfigured(f"the storage cannot be opened: {root}: {str(wrong).partition(chr(10))[0]}") from None
