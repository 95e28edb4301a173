"""The server that takes an upload in, killed in the middle of it, again and again: what it acknowledged is there.

One request brings all that is missing, as tus-js-client does by default; after each kill the client asks how far the
upload is, at a new server, and goes on from there. A worker then puts the parts together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from services.media.parts import PIECE_BYTES
from shared.db.tx import open_tx
from shared.runtime.callers import create_key
from shared.testing.servers import free_port
from tests.faults.rig import Rig

SEED = int(os.environ.get("HOLDFAST_TEST_SEED", random.SystemRandom().randrange(10_000)))
SIZE = 3 * PIECE_BYTES + 12_345
TUS = {"Tus-Resumable": "1.0.0"}
ASSEMBLED = text("SELECT count(*) FROM job WHERE task = 'media.assemble_upload' AND state = 'completed'")


class Server:
    """The media app under uvicorn, as `holdfast up` starts it; started again after each kill."""

    def __init__(self, rig: Rig, storage: Path) -> None:
        self.rig = rig
        self.port = free_port()
        self.env = {"HOLDFAST_MEDIA_STORAGE_URL": str(storage), "HOLDFAST_MEDIA_SLOTS": "1"}
        self.starts = 0
        self.role = self._started()

    def _started(self):
        self.starts += 1
        command = (
            sys.executable, "-m", "uvicorn", "--factory", "services.media.app:create_app", "--http",
            "shared.runtime.heads:BoundedHttp", "--host", "127.0.0.1", "--port", str(self.port),
            "--log-level", "warning",
        )  # fmt: skip
        return self.rig._start(f"http-{self.starts}", command, "state-http", self.env)

    def kill(self) -> None:
        process = self.role.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.rig.supervisor.roles.remove(self.role)
        self.role = self._started()

    async def ready(self, client: httpx.AsyncClient) -> None:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/healthz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)


async def test_an_upload_goes_on_where_a_killed_server_had_acknowledged_it(rig: Rig, tmp_path: Path) -> None:
    print(f"HOLDFAST_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    body = b"RIFF" + (SIZE - 8).to_bytes(4, "little") + b"WAVEfmt " + chance.randbytes(SIZE - 16)
    storage = tmp_path / "media"
    async with open_tx(rig.database) as tx:
        _, key = await create_key(tx, name="test", tenant="t", scopes=("*",))
    server = Server(rig, storage)
    headers = {"Authorization": f"Bearer {key}", **TUS}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=60) as client:
        await server.ready(client)
        made = await client.post("/v1/media/uploads", headers={"Upload-Length": str(SIZE)})
        url, at, kills, asset = made.headers["location"], 0, 0, None
        while asset is None:
            end = at + chance.randrange(PIECE_BYTES // 2, 2 * PIECE_BYTES) if kills < 3 else SIZE

            async def dripping(start: int = at, stop: int = end) -> AsyncIterator[bytes]:
                for place in range(start, SIZE, 1 << 18):
                    if place >= stop < SIZE:
                        server.kill()
                    yield body[place : place + (1 << 18)]

            try:
                given = {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
                answer = await client.patch(url, content=dripping(), headers=given)
                asset = answer.headers.get("holdfast-asset")
                assert answer.status_code == 204, answer.text
            except httpx.TransportError:
                kills += 1
                await server.ready(client)
                head = await client.head(url)
                found = int(head.headers["upload-offset"])
                assert at <= found <= SIZE
                assert found >= end - 2 * PIECE_BYTES, "more than a piece was lost"
                assert (found - at) % PIECE_BYTES == 0 or found == SIZE
                at, asset = found, head.headers.get("holdfast-asset")
        assert kills >= 1
        kept = {path.name for path in (storage / "uploads").rglob("*") if path.is_file() and "#" not in path.name}
        rows = await rig.rows("SELECT key, size_bytes FROM media_upload_parts")
        assert sum(row.size_bytes for row in rows) == SIZE
        assert {row.key.rsplit("/", 1)[1] for row in rows} <= kept

        rig.relay(HOLDFAST_QUEUES="media")
        rig.worker_of("tests.faults.media_worker:create_broker", "media", slots=4, **server.env)
        await rig.until(ASSEMBLED, 1, "the parts are put together")
        (row,) = await rig.rows("SELECT sha256, size_bytes, source_key FROM media_assets")
        assert (row.sha256, row.size_bytes) == (hashlib.sha256(body).hexdigest(), SIZE)
        assert (storage / row.source_key).read_bytes() == body
        assert await rig.rows("SELECT * FROM media_upload_parts") == []


@pytest.mark.parametrize("rig", ["sqlite"], indirect=True)
async def test_a_worker_killed_while_it_puts_parts_together_leaves_that_to_the_next(rig: Rig, tmp_path: Path) -> None:
    body = b"RIFF" + (SIZE - 8).to_bytes(4, "little") + b"WAVEfmt " + bytes(SIZE - 16)
    storage = tmp_path / "media"
    async with open_tx(rig.database) as tx:
        _, key = await create_key(tx, name="test", tenant="t", scopes=("*",))
    server = Server(rig, storage)
    headers = {"Authorization": f"Bearer {key}", **TUS, "Content-Type": "application/offset+octet-stream"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=60) as client:
        await server.ready(client)
        made = await client.post("/v1/media/uploads", headers={"Upload-Length": str(SIZE)}, content=body)
        assert made.headers["holdfast-asset"]
    rig.relay(HOLDFAST_QUEUES="media")
    rig.worker_of("tests.faults.media_worker:create_broker", "media", processes=2, slots=4, **server.env)
    sources = storage / "sources"
    async with asyncio.timeout(60):
        while not any(path.is_file() for path in sources.rglob("*")):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    for pid in rig.active(queue="media"):
        os.kill(pid, signal.SIGKILL)
    await rig.until(ASSEMBLED, 1, "the parts are put together")
    (row,) = await rig.rows("SELECT source_key, sha256 FROM media_assets")
    assert row.sha256 == hashlib.sha256(body).hexdigest()
    assert (storage / row.source_key).read_bytes() == body
