"""A real server under raw sockets: heads that never end, bodies that drip, and what is no HTTP at all."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from shared.runtime import bodies, heads
from shared.runtime.bodies import BodyRefused, bounded
from shared.runtime.problems import from_error

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    def run(main: Any) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 30))

    return run


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads what it is sent, unless it is asked not to, and says how much that was."""
    size, more, receiving = 0, scope["method"] == "POST" and scope["path"] != "/deaf", bounded(receive, 10**9)
    try:
        while more:
            message = await receiving()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    except BodyRefused as refused:
        await from_error(refused)(scope, receive, send)
        return
    headers = [(b"content-length", str(len(str(size))).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(size).encode()})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, http="shared.runtime.heads:BoundedHttp")
    config.load()
    protocol: Any = config.http_protocol_class
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        server.close()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def expect_end(reader: asyncio.StreamReader, status: int, code: str) -> None:
    """A problem, and the end of the connection."""
    found, headers, body = await answer_of(reader)
    assert (found, headers["content-type"], headers["connection"]) == (status, "application/problem+json", "close")
    document = json.loads(body)
    assert (document["status"], document["code"]) == (status, code)
    await expect_nothing(reader)


async def expect_nothing(reader: asyncio.StreamReader) -> None:
    """But the end of the connection: a reset, when more was sent than was read."""
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    while not writer.is_closing():
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def dripping(writer: asyncio.StreamWriter, piece: bytes) -> AsyncIterator[None]:
    task = asyncio.ensure_future(drip(writer, piece))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_head_that_never_ends_is_cut(on_loop: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_LIMIT_S", 0.2)

    async def main() -> None:
        for before in (b"", GET, GET + GET):
            async with connected() as (reader, writer):
                writer.write(before)
                for _ in range(before.count(GET)):
                    assert (await answer_of(reader))[0] == 200
                writer.write(b"GET / HTTP/1.1\r\nHost: ")
                async with dripping(writer, b"x"):
                    await expect_end(reader, 408, "slow_head")

    on_loop(main())


def test_a_connection_that_says_nothing_is_closed(
    on_loop: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "HEAD_LIMIT_S", 0.1)

    async def main() -> None:
        async with connected() as (reader, _):
            await expect_nothing(reader)
        async with connected() as (reader, writer), dripping(writer, b"\r\n"):
            await expect_nothing(reader)

    on_loop(main())


def test_a_head_without_bound_is_refused(on_loop: Callable[[Any], None]) -> None:
    async def main() -> None:
        for piece in (b"x" * 80_000, b"a: b\r\nX-" * 10_000):
            async with connected() as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + piece)
                await expect_end(reader, 431, "head_too_large")

    on_loop(main())


def test_what_is_no_http_is_told_so_in_a_problem(on_loop: Callable[[Any], None]) -> None:
    async def main() -> None:
        for piece in (b"SSH-2.0-OpenSSH_9.6\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"\x16\x03\x01\x02\x00"):
            async with connected() as (reader, writer):
                writer.write(piece)
                await expect_end(reader, 400, "unreadable")

    on_loop(main())


def test_a_body_that_drips_is_cut_although_it_is_never_silent(
    on_loop: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_GRACE_S", 0.2)

    async def main() -> None:
        async with connected() as (reader, writer):
            writer.write(POST)
            async with dripping(writer, b"x"):
                await expect_end(reader, 408, "slow_body")

    on_loop(main())


def test_a_body_fast_enough_is_read_past_the_grace_but_not_for_ever(
    on_loop: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_GRACE_S", 0.1)

    async def main() -> None:
        async with connected() as (reader, writer):
            writer.write(POST)
            async with dripping(writer, b"x" * 1_000):  # up to 100 kB a second, for at least a second
                assert (await answer_of(reader))[2] == b"100000"
        monkeypatch.setattr(bodies, "BODY_TIME_MAX_S", 0.2)
        async with connected() as (reader, writer):
            writer.write(POST)
            async with dripping(writer, b"x" * 100):
                await expect_end(reader, 408, "slow_body")

    on_loop(main())


def test_what_is_left_of_a_body_after_its_answer_is_read_for_a_while(
    on_loop: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    early = POST.replace(b"/ ", b"/deaf ", 1)

    async def main() -> None:
        async with connected() as (reader, writer):
            writer.write(early)
            assert (await answer_of(reader))[2] == b"0"
            writer.write(b"x" * 100_000 + GET)
            assert (await answer_of(reader))[2] == b"0"
        monkeypatch.setattr(heads, "LINGER_S", 0.2)
        async with connected() as (reader, writer):
            writer.write(early)
            assert (await answer_of(reader))[2] == b"0"
            async with dripping(writer, b"x"):
                await expect_nothing(reader)

    on_loop(main())


def test_the_timer_of_a_head_does_not_cut_an_answer_that_takes_longer(
    on_loop: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "HEAD_LIMIT_S", 0.05)

    async def main() -> None:
        async with connected() as (reader, writer):
            writer.write(POST.replace(b"100000", b"3"))
            await asyncio.sleep(0.15)  # the body comes long after a head would have been cut
            writer.write(b"abc")
            assert (await answer_of(reader))[2] == b"3"

    on_loop(main())
