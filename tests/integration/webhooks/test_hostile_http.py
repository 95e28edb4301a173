"""Receivers that mean harm, or know no better: each attempt ends in time, in bounds, and in words."""

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from services.webhooks.answers import BODY_CAP_BYTES, Answer
from services.webhooks.sender import Sender
from shared.runtime.egress import AddressPolicy
from tests.integration.webhooks.receivers import Talk, http_receiver, raw_receiver, says
from tests.stalls import within

LOOPBACK = AddressPolicy.from_cidrs(["127.0.0.0/8"])
METADATA = ("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://100.100.100.200/")


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(LOOPBACK) as started:
        yield started


async def sent(sender: Sender, talk: Talk, *, timeout_s: float = 5.0, body: bytes = b"{}") -> Answer:
    async with raw_receiver(talk) as port:
        return await sender.send(f"http://127.0.0.1:{port}/", body, {}, timeout_s)


def drips(pieces: bytes, every_s: float = 0.01) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for n in range(len(pieces)):
            writer.write(pieces[n : n + 1])
            await writer.drain()
            await asyncio.sleep(every_s)
        await asyncio.Event().wait()

    return talk


@pytest.mark.parametrize(
    ("talk", "status"),
    [
        (drips(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000), None),
        (drips(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"z" * 5_000, 0.002), 200),
        (drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nz\r\n" * 1_000, 0.002), 200),
    ],
    ids=["head", "body", "chunks"],
)
async def test_what_drips_ends_with_the_one_deadline(sender: Sender, talk: Talk, status: int | None) -> None:
    async with within(3.1):
        answer = await sent(sender, talk, timeout_s=1.5)
    assert (answer.status, answer.error) == (status, "timeout")


def compressed(encoding: str) -> bytes:
    zeros = bytes(40_000_000)
    if encoding == "gzip":
        return gzip.compress(zeros, 9)
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS if encoding == "raw" else zlib.MAX_WBITS)
    return machine.compress(zeros) + machine.flush()


@pytest.mark.parametrize("encoding", ["gzip", "zlib", "raw", "gzip of gzip"])
async def test_bombs_are_inflated_to_the_cap_and_no_further(sender: Sender, encoding: str) -> None:
    bomb = gzip.compress(compressed("gzip")) if encoding == "gzip of gzip" else compressed(encoding)
    name = {"gzip": "gzip", "gzip of gzip": "gzip, gzip"}.get(encoding, "deflate")

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": name})

    async with http_receiver(handler) as port, within(3):
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error) == (200, None)
    assert len(answer.body.encode()) <= 3 * BODY_CAP_BYTES  # what is no text is shown by a mark of three bytes


async def test_an_endless_body_of_chunks_is_hung_up_on(sender: Sender) -> None:
    closed = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"y" * 65_536 + b"\r\n")
                await writer.drain()
        finally:
            closed.set()

    async with raw_receiver(talk) as port, within(3):
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
        await asyncio.wait_for(closed.wait(), 2)
    assert (answer.status, answer.body_truncated, len(answer.body)) == (200, True, BODY_CAP_BYTES)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", METADATA)
async def test_no_redirect_is_followed_least_of_all_to_metadata(sender: Sender, status: int, target: str) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Location": target, "Refresh": f"0; url={target}"})

    async with http_receiver(handler) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error) == (status, None)
    assert sender.open_sockets <= 1


class Names:
    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def lookup(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    "inside", ["169.254.169.254", "10.0.0.1", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0"]
)
async def test_a_name_is_asked_once_and_the_connection_goes_to_what_was_judged(inside: str) -> None:
    names = Names(["127.0.0.1"], [inside])
    async with Sender(LOOPBACK, resolver=names) as sender, raw_receiver(says(b"HTTP/1.1 204 No\r\n\r\n")) as port:
        first = await sender.send(f"http://two-faced.example:{port}/", b"{}", {}, 5)
        assert (first.status, names.asked) == (204, 1)  # asked once: nobody looks again between verdict and connect
    names = Names([inside])
    async with Sender(LOOPBACK, resolver=names) as sender:
        second = await sender.send("http://two-faced.example/", b"{}", {}, 5)
    assert (second.status, second.error) == (None, "egress")


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 20", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", 200),
        (b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf", 500),
    ],
)
async def test_a_reset_anywhere_is_an_answer(sender: Sender, said: bytes, status: int | None) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        await asyncio.sleep(0.05)  # so that what was said is read before the reset overtakes it
        reset(writer)

    async with within(3):
        answer = await sent(sender, talk)
    assert answer.status == status
    assert answer.error == "disconnected"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "protocol"),
        (b"220 smtp.example ESMTP\r\n", "protocol"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "too_large"),
        (b"HTTP/1.1 200 " + b"O" * 200_000, "too_large"),
    ],
)
async def test_what_is_no_http_is_told_apart(sender: Sender, said: bytes, error: str) -> None:
    async with within(3):
        answer = await sent(sender, says(said))
    assert answer.status is None
    assert answer.error in (error, "protocol", "too_large")
    assert len(answer.message or "") <= 300


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"-1\r\n", b"ffffffffffffffff\r\nx", b"5\r\nhelloXX5\r\n", b"5;" + b"x" * 100_000]
)
async def test_nonsense_of_chunks_is_told_at_once_and_keeps_its_status(sender: Sender, chunks: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with within(3):
        answer = await sent(sender, says(head + chunks), timeout_s=10)
    assert answer.error in ("protocol", "disconnected", "too_large")
    assert answer.status in (200, None)


async def test_a_head_of_many_headers_is_bounded_in_what_is_kept(sender: Sender) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"v" * 200) for n in range(500))
    answer = await sent(sender, says(head + b"\r\n"))
    kept = sum(len(name) + len(value) for name, value in answer.headers)
    assert len(answer.headers) <= 64
    assert kept <= 8_192


async def test_headers_of_an_answer_cannot_inject_lines_or_controls(sender: Sender) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: one\r\n two\r\nX-B: \x1b[2Jcleared\r\n\r\n"
    answer = await sent(sender, says(head))
    assert answer.status in (200, None)  # the strict parser may refuse folded lines
    assert all("\n" not in value and "\r" not in value for _, value in answer.headers)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b"])
async def test_headers_of_a_request_cannot_inject_either(sender: Sender, value: str) -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(b"came")

    async with raw_receiver(talk) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {"x-a": value}, 5)
    assert (answer.status, answer.error, heads) == (None, "request", [])


async def test_continue_is_passed_over_and_a_flood_of_it_is_not(sender: Sender) -> None:
    go_on, ok = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert (await sent(sender, says(go_on + ok))).body == "ok"
    flooded = await sent(sender, says(go_on * 100 + ok))
    assert (flooded.status, flooded.error) == (None, "protocol")
    async with within(2):
        assert (await sent(sender, says(go_on, hold=True), timeout_s=0.3)).error == "timeout"


async def test_an_answer_before_the_request_has_come_is_an_answer(sender: Sender) -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with within(4):
        answer = await sent(sender, says(early), body=bytes(8_000_000))
    assert answer.status in (413, None)  # a reset may overtake the answer: then it is told as what it is
    assert answer.error in (None, "disconnected")


async def test_a_kept_connection_that_died_while_idle_costs_no_attempt(sender: Sender) -> None:
    """The receiver closes each connection after one answer, only when the next request has come."""
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.readexactly(2))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        await reader.read(1)  # the next request begins: its connection is gone before a byte of an answer
        reset(writer)

    async with raw_receiver(talk) as port:
        for _ in range(3):
            answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
            assert (answer.status, answer.error) == (204, None)
    assert len(bodies) == 3


async def test_a_new_connection_that_dies_is_a_failed_attempt(sender: Sender) -> None:
    """Nobody knows whether the receiver has taken it: only the schedule sends it again."""
    came: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(len(await reader.readexactly(2)))

    answer = await sent(sender, talk)
    assert (answer.status, answer.error, came) == (None, "disconnected", [2])


async def test_a_kept_connection_that_dies_amid_an_answer_is_a_failed_attempt(sender: Sender) -> None:
    heads = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heads
        await reader.readexactly(2)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        heads += 1
        writer.write(b"HTTP/1.1 2")
        await writer.drain()

    async with raw_receiver(talk) as port:
        assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 204
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, heads) == (None, 1)


async def test_receivers_that_hang_hold_up_nobody_else(sender: Sender) -> None:
    async def quick(_: web.BaseRequest) -> web.Response:
        return web.Response(status=204)

    async with raw_receiver(says(hold=True)) as hung, http_receiver(quick) as port:
        waiting = [asyncio.create_task(sender.send(f"http://127.0.0.1:{hung}/", b"", {}, 2)) for _ in range(100)]
        await asyncio.sleep(0.05)
        async with within(1):
            assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 204
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
