"""Where bytes live: a local directory, S3, GCS or Azure, by one URL, through obstore.

Owns keys and streams. Invariants: an object appears under its key whole or not at all, and only rows in the database
make it count, so every upload has a new key; nothing is held in memory beyond a few chunks. Refuses a stream over its
limit (BlobTooLarge, 413) and keys that no server of ours would make (ValueError: they never come from clients).

A cancelled upload to S3 leaves an unfinished multipart upload behind: the bucket needs a lifecycle rule for those.
"""

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
import obstore.exceptions
from obstore.store import LocalStore, ObjectStore, from_url

from services.media.errors import BlobMissing, BlobTooLarge
from shared.kernel.errors import Misconfigured

CHUNK_BYTES = 256 * 1024
PART_BYTES = 5 * 1024 * 1024
PARTS_AT_ONCE = 4
DELETED_AT_ONCE = 500
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class Blob:
    """An opened object: `size_bytes` of the whole, and the bytes `start` (inclusive) to `end` (exclusive) as chunks."""

    size_bytes: int
    start: int
    end: int
    chunks: AsyncIterator[bytes]


class Blobs:
    def __init__(self, url: str, **options: Any) -> None:
        """`url`: a directory (made if absent) or file://, s3://, gs://, az://; `options` go to obstore's store."""
        self._root = _local_root(url)  # None: a bucket
        self._store = _open_store(url, options)

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes], *, limit_bytes: int) -> tuple[int, str]:
        """Store a stream under a new key; (size in bytes, SHA-256 in hex). What `chunks` raises is raised again."""
        tally = _Tally(chunks, limit_bytes)
        try:
            await obstore.put_async(
                self._store, _checked(key), tally.counted(), chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )
        except Exception as error:
            if tally.failure is not None and tally.failure is not error:  # obstore wraps it into its own
                raise tally.failure from None
            raise
        return tally.size_bytes, tally.digest.hexdigest()

    async def put_file(self, key: str, path: Path) -> int:
        """Store a finished file under a new key; its size in bytes."""
        await obstore.put_async(self._store, _checked(key), path, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
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
        """A file in `directory` for a slot to read, named after the key's last part. Raises BlobMissing."""
        path = directory / key.rsplit("/", 1)[-1]
        blob = await self.open(key)
        try:
            with path.open("wb") as file:
                async for chunk in blob.chunks:
                    file.write(chunk)
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
            for name in sorted(await asyncio.to_thread(_names_in, top)):
                if after is None or name > after:
                    found = await asyncio.to_thread(_files_in, top / name)
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
        """Delete these, which `folders` has given; what is not there any more is no error."""
        if self._root is not None:
            await asyncio.to_thread(_unlink, self._root, keys)
            return
        for at in range(0, len(keys), DELETED_AT_ONCE):
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, list(keys[at : at + DELETED_AT_ONCE]))


def _names_in(top: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _files_in(folder: Path) -> dict[str, float]:
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(folder))] = path.stat().st_mtime
    return found


def _unlink(root: Path, keys: Sequence[str]) -> None:
    for key in keys:
        path = root / key
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or gone
            for parent in itertools.takewhile(lambda parent: parent != root, path.parents):
                parent.rmdir()


class _Tally:
    """Counts and hashes a stream on its way; keeps the error that broke it."""

    def __init__(self, chunks: AsyncIterable[bytes], limit_bytes: int) -> None:
        self._chunks = chunks
        self._limit_bytes = limit_bytes
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.failure: Exception | None = None

    def _check(self) -> None:
        if self.size_bytes > self._limit_bytes:
            text = f"the body is at least {self.size_bytes} bytes, the limit is {self._limit_bytes}"
            raise BlobTooLarge(text, limit_bytes=self._limit_bytes, found_bytes=self.size_bytes)

    async def counted(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                self.size_bytes += len(chunk)
                self._check()
                self.digest.update(chunk)
                yield chunk
        except Exception as failure:
            self.failure = failure
            raise


async def _chunks(got: "obstore.GetResult") -> AsyncIterator[bytes]:
    async for chunk in got.stream(min_chunk_size=CHUNK_BYTES):
        yield bytes(chunk)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or len(key) > 512:
        raise ValueError(f"{key!r} is no key of ours")
    return key


def _local_root(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else url).expanduser().absolute()


def _open_store(url: str, options: dict[str, Any]) -> ObjectStore:
    root = _local_root(url)
    if root is None:
        try:
            return from_url(url, **options)
        except obstore.exceptions.BaseError as wrong:  # its first line is a sentence, the rest is for who debugs it
            raise Misconfigured(f"the storage cannot be opened: {str(wrong).partition(chr(10))[0]}") from None
    return LocalStore(root, mkdir=True, automatic_cleanup=True, **options)
