"""The gateway on loopback: only for who has its word, only to vetted addresses, only so many bytes of an answer."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from shared.runtime import gateway as module
from shared.runtime.addresses import AddressPolicy, EgressRefused
from shared.runtime.dialer import Dialer
from shared.runtime.gateway import Gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    opened = Gateway(Dialer(AddressPolicy.from_cidrs(["127.0.0.0/8"])))
    await opened.start()
    yield opened
    await opened.close()


async def said(
    gateway: Gateway, first: str, *, word: str | None = None, rest: bytes = b"", to: tuple[str, int] | None = None
) -> bytes:
    """`to`: what the word is good for, by itself where `first` leads."""
    parts = urlsplit(gateway.url_for(*(to or leads(first))))
    known = b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
    writer.write(f"{first}\r\nProxy-Authorization: Basic {word or known}\r\nX-Own: 1\r\n\r\n".encode() + rest)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


def leads(first: str) -> tuple[str, int]:
    target = first.split(" ")[1]
    parts = urlsplit(target if "://" in target else f"//{target}")
    try:
        return parts.hostname or "", parts.port or 80
    except ValueError:
        return parts.hostname or "", 80


async def serving(answer: bytes, got: list[bytes]) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_who_has_the_word_gets_through_both_ways(gateway: Gateway) -> None:
    got: list[bytes] = []
    async with await serving(b"HTTP/1.1 204 No Content\r\n\r\n", got) as server:
        port = server.sockets[0].getsockname()[1]
        plain = await said(gateway, f"PUT http://127.0.0.1:{port}/a?b=c HTTP/1.1")
        assert plain == b"HTTP/1.1 204 No Content\r\n\r\n"
        tunnel = await said(gateway, f"CONNECT 127.0.0.1:{port} HTTP/1.1", rest=b"GET / HTTP/1.1\r\n\r\n")
        assert tunnel == b"HTTP/1.1 200 Connected\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    assert got[0] == b"PUT /a?b=c HTTP/1.1\r\nX-Own: 1\r\nConnection: close\r\n\r\n"  # and not the word
    assert gateway.why("127.0.0.1", port) is None


async def test_a_second_request_of_a_connection_never_reaches_the_server(gateway: Gateway) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # and it keeps the connection open
        await writer.drain()
        try:
            more = await asyncio.wait_for(reader.read(1_000), 0.3)
        except TimeoutError:
            more = b""
        seen.set_result((head, body, more))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        first = f"PUT http://127.0.0.1:{port}/a HTTP/1.1\r\nContent-Length: 3"
        second = f"PUT http://127.0.0.1:{port}/b HTTP/1.1\r\nProxy-Authorization: Basic word\r\n\r\n".encode()
        await said(gateway, first, rest=b"abc" + second)
        head, body, more = await seen
    assert b"proxy-authorization" not in head.lower()
    assert (body, more) == (b"abc", b"")


async def test_a_word_is_good_for_one_place(gateway: Gateway) -> None:
    got: list[bytes] = []
    async with await serving(b"HTTP/1.1 204 No Content\r\n\r\n", got) as server:
        port = server.sockets[0].getsockname()[1]
        for first in (f"PUT http://127.0.0.1:{port}/ HTTP/1.1", f"CONNECT 127.0.0.1:{port} HTTP/1.1"):
            assert (await said(gateway, first, to=("127.0.0.1", 9))).startswith(b"HTTP/1.1 502 ")
    assert got == []
    assert "redirects" in str(gateway.why("127.0.0.1", 9))


@pytest.mark.parametrize(
    "more", ["Transfer-Encoding: chunked", "Content-Length: x", "Content-Length: 1\r\nContent-Length: 2"]
)
async def test_a_body_without_a_certain_length_is_refused(gateway: Gateway, more: str) -> None:
    assert (await said(gateway, f"PUT http://127.0.0.1:9/ HTTP/1.1\r\n{more}")).startswith(b"HTTP/1.1 411 ")


async def test_nobody_else_gets_through(gateway: Gateway) -> None:
    for word in ("AAAA", "\u00e9"):
        assert (await said(gateway, "CONNECT 127.0.0.1:9 HTTP/1.1", word=word)).startswith(b"HTTP/1.1 407 ")


@pytest.mark.parametrize(
    "first",
    [
        "CONNECT 127.0.0.1 HTTP/1.1", "CONNECT 127.0.0.1:x HTTP/1.1", "GET / HTTP/1.1", "GET ftp://127.0.0.1/ HTTP/1.1",
        "GET http://me@127.0.0.1/ HTTP/1.1", "GET http://127.0.0.1:99999999/ HTTP/1.1",
    ],
)  # fmt: skip
async def test_what_it_does_not_do_is_refused(gateway: Gateway, first: str) -> None:
    assert (await said(gateway, first)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "2852039166"])
async def test_forbidden_addresses_are_not_connected_to(gateway: Gateway, host: str) -> None:
    assert (await said(gateway, f"CONNECT {host}:80 HTTP/1.1")).startswith(b"HTTP/1.1 502 ")
    assert isinstance(gateway.why(host.strip("[]"), 80), EgressRefused)


async def test_an_answer_ends_at_its_bound(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWERS_MAX_BYTES", 10_000)
    async with await serving(b"y" * 1_000_000, []) as server:
        port = server.sockets[0].getsockname()[1]
        try:
            came = len(await said(gateway, f"GET http://127.0.0.1:{port}/ HTTP/1.1"))
        except ConnectionResetError:
            came = 0
    assert came <= 10_000
