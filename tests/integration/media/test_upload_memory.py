"""Files on their way in: as many as the memory allows, and no more memory than that, however slow the bucket is."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from services.media.buffers import STREAM_BYTES
from tests.integration.http.places import Place, expect_problem, on_one_database
from tests.integration.media.ingesting import bucket, jpeg, on_a_directory, place, s3_server, serving, storage

__all__ = ["bucket", "place", "s3_server", "storage"]
TUS = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000", "Content-Type": "application/offset+octet-stream"}
STREAMS = 12
BEGUN = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
WHOLE = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
# The highest resident size of a process that stores so many streams at once, less what it has before, in bytes.
PROGRAM = f"""
import asyncio
from services.media import app
from services.media.blobs import Blobs

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

async def body():
    for _ in range(480):
        yield bytearray(b"x" * 65536)
        await asyncio.sleep(0)

async def main():
    blobs, before, most = Blobs("s3://bucket/media"), resident(), 0
    streams = [blobs.put_stream(f"sources/{{n}}", body(), limit_bytes=2**40) for n in range({STREAMS})]
    storing = asyncio.ensure_future(asyncio.gather(*streams))
    while not storing.done():
        most = max(most, resident())
        await asyncio.sleep(0.02)
    assert storing.result()[0][0] == 480 * 65536
    print(most - before)

asyncio.run(main())
"""


@on_one_database
@on_a_directory
async def test_a_file_that_finds_no_memory_is_refused_before_it_is_read(place: Place, storage: str) -> None:
    async with serving(place, storage, upload_memory_bytes=40 * 2**20) as service:
        began, go_on, read = asyncio.Event(), asyncio.Event(), []

        async def slow() -> AsyncIterator[bytes]:
            yield jpeg(5_000)
            began.set()
            await go_on.wait()

        async def counted() -> AsyncIterator[bytes]:
            read.append(1)
            yield jpeg(5_000, "b")

        first = asyncio.create_task(service.client.post("/v1/media", content=slow()))
        await began.wait()
        answer = await service.client.post("/v1/media", content=counted())
        document = expect_problem(answer, 429, "too_many_bodies")
        assert (document["retry_after_s"], answer.headers["retry-after"], read) == (2, "2", [])
        expect_problem(
            await service.client.post("/v1/media/uploads", content=counted(), headers=TUS), 429, "too_many_bodies"
        )
        assert await service.place.rows("SELECT id FROM media_uploads") == [], "nothing was begun"
        assert (await service.upload(jpeg(5_000, "small"))).status_code == 202, "a small one has room beside it"
        go_on.set()
        assert (await first).status_code == 202
        assert (await service.client.post("/v1/media", content=counted())).status_code == 202


async def _answer(request: web.Request) -> web.Response:
    async for _ in request.content.iter_chunked(2**20):
        pass
    if request.method == "POST":
        text = BEGUN if "uploads" in request.query else WHOLE
        return web.Response(text=text, content_type="application/xml")
    await asyncio.sleep(1)  # a bucket that is slow: what was sent is held until it answers
    return web.Response(headers={"ETag": "e"})


async def test_streams_hold_no_more_than_is_counted_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        for name, value in (
            ("ENDPOINT", "http://127.0.0.1:{1}".format(*runner.addresses[0])), ("ACCESS_KEY_ID", "k"),
            ("SECRET_ACCESS_KEY", "s"), ("REGION", "us-east-1"), ("ALLOW_HTTP", "true"),
        ):  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        await runner.cleanup()
    assert process.returncode == 0
    assert 5 * 2**20 < int(out) / STREAMS <= STREAM_BYTES, "per stream"
