"""Blobs on a real directory: whole or not at all."""

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from services.media.blobs import Blobs
from services.media.errors import BlobMissing, BlobTooLarge
from shared.kernel.errors import Misconfigured

MIB = 1024 * 1024


@pytest.fixture
def blobs(tmp_path):
    return Blobs(f"file://{tmp_path}/a%20store")


def files(tmp_path):
    return [path for path in (tmp_path / "a store").rglob("*") if path.is_file()]


async def stream(*chunks, then=None):
    for chunk in chunks:
        yield chunk
    if then is not None:
        raise then


async def read(blob):
    return b"".join([chunk async for chunk in blob.chunks])


async def test_a_stream_comes_back_as_it_went_in(blobs):
    data = os.urandom(11 * MIB + 3)
    size, digest = await blobs.put_stream("a/b", stream(data[:5], data[5:]), limit_bytes=len(data))
    assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
    assert await blobs.size_bytes("a/b") == size
    assert await read(await blobs.open("a/b")) == data


@pytest.mark.parametrize("size", [10, 6 * MIB])
async def test_over_the_limit_nothing_is_stored(blobs, tmp_path, size):
    with pytest.raises(BlobTooLarge) as caught:
        await blobs.put_stream("a/b", stream(*[bytes(size)] * 3), limit_bytes=3 * size - 1)
    assert caught.value.status == 413
    assert files(tmp_path) == []


async def test_a_client_that_leaves_stores_nothing(blobs, tmp_path):
    with pytest.raises(ConnectionResetError, match="gone"):
        await blobs.put_stream("a/b", stream(bytes(6 * MIB), then=ConnectionResetError("gone")), limit_bytes=MIB * 99)
    assert files(tmp_path) == []
    with pytest.raises(BlobMissing):
        await blobs.open("a/b")


async def test_a_cancelled_upload_stores_nothing(blobs):
    fed, never = asyncio.Event(), asyncio.Event()

    async def slow():
        yield bytes(6 * MIB)
        fed.set()
        await never.wait()

    upload = asyncio.create_task(blobs.put_stream("a/b", slow(), limit_bytes=99 * MIB))
    await fed.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    with pytest.raises(BlobMissing):
        await blobs.open("a/b")


async def test_ranges(blobs):
    await blobs.put_stream("k", stream(b"0123456789"), limit_bytes=10)
    for start, end, expected in [(0, None, b"0123456789"), (3, None, b"3456789"), (2, 5, b"234"), (8, 99, b"89")]:
        blob = await blobs.open("k", start=start, end=end)
        assert (await read(blob), blob.size_bytes, blob.end - blob.start) == (expected, 10, len(expected))
    for start, end in [(10, None), (10, 12), (5, 5), (6, 5)]:
        with pytest.raises(ValueError, match="range"):
            await blobs.open("k", start=start, end=end)


async def test_files_go_in_and_come_out(blobs, tmp_path):
    source = tmp_path / "made"
    source.write_bytes(b"x" * 1000)
    assert await blobs.put_file("a/1/file.webp", source) == 1000
    copy = await blobs.local_copy("a/1/file.webp", tmp_path)
    assert (copy, copy.read_bytes()) == (tmp_path / "file.webp", b"x" * 1000)
    with pytest.raises(BlobMissing):
        await blobs.local_copy("a/1/none", tmp_path)
    assert not (tmp_path / "none").exists()


async def test_deleting_a_prefix_takes_whole_segments(blobs, tmp_path):
    for key in ("a/1/x", "a/1/y/z", "a/12", "b"):
        await blobs.put_stream(key, stream(b"."), limit_bytes=1)
    assert await blobs.delete_prefix("a/1") == 2
    assert sorted(path.name for path in files(tmp_path)) == ["12", "b"]
    assert await blobs.delete_prefix("a/1") == 0


@pytest.mark.parametrize("key", ["", "/a", "../a", "a/../b", "a//b", "a b", "a/.hidden", "a" * 600])
async def test_keys_that_no_server_makes_are_refused(blobs, key):
    with pytest.raises(ValueError, match="key of ours"):
        await blobs.put_stream(key, stream(b"."), limit_bytes=1)


async def test_memory_storage_by_url():
    blobs = Blobs("memory:///")
    await blobs.put_stream("k", stream(b"abc"), limit_bytes=3)
    assert await read(await blobs.open("k", start=1)) == b"bc"


async def test_what_is_stored_is_on_the_disk_before_anybody_is_told(tmp_path, monkeypatch):
    """With its name, in every folder that may be new."""
    flushed, really = [], os.fsync

    def fsync(descriptor):
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    here = Blobs(str(tmp_path / "store"))
    (tmp_path / "made").write_bytes(b"x")
    await here.put_stream("a/b/c", stream(b"xyz"), limit_bytes=10)
    await here.put_file("a/d", tmp_path / "made")
    store = tmp_path / "store"
    assert flushed == [store / "a/b/c", store / "a/b", store / "a", store, store / "a/d", store / "a", store]


async def test_a_storage_that_cannot_be_opened_is_said_so():
    with pytest.raises(Misconfigured, match="/proc/none"):
        Blobs("/proc/none")


async def test_a_local_copy_on_a_slow_disk_holds_up_nobody_else(tmp_path: Path) -> None:
    """A pipe that is not read stands for the disk: whoever writes into it on the event loop stops that too."""
    blobs, body, free = Blobs(str(tmp_path / "blobs")), bytes(range(256)) * 40_000, threading.Event()
    await blobs.put_stream("a/b", stream(body[:MIB], body[MIB:]), limit_bytes=len(body))
    os.mkfifo(tmp_path / "b")

    def read_late() -> tuple[bool, bytes]:
        with (tmp_path / "b").open("rb") as pipe:
            return free.wait(10), pipe.read()

    reading = asyncio.create_task(asyncio.to_thread(read_late))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.2, free.set)
    await blobs.local_copy("a/b", tmp_path)
    assert await reading == (True, body)


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/outside", "a//b", ".", ""])
async def test_what_is_removed_lies_within(blobs, tmp_path, key):
    (tmp_path / "outside").write_text("x")
    with pytest.raises(ValueError, match="no key of ours"):
        await blobs.remove([key])
    assert (tmp_path / "outside").exists()
