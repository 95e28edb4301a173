"""Deliveries through an HTTP proxy: it is told vetted addresses, never names, and TLS goes through it end to end."""

import asyncio
import contextlib
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from services.webhooks.sender import Sender
from shared.kernel.errors import Misconfigured
from shared.runtime import dialer
from shared.runtime.egress import AddressPolicy
from shared.runtime.proxy import ProxyAddress
from tests.integration.webhooks.certificates import Authority
from tests.integration.webhooks.receivers import http_receiver, raw_receiver, says

# 127.1.0.0/16 plays the public network, where nobody but the proxy can take us; the rest of 127/8 is forbidden.
POLICY = AddressPolicy.from_cidrs(["127.1.0.0/16"])
PUBLIC, OTHER = "127.1.2.3", "127.1.2.4"


class Names:
    def __init__(self, *addresses: str, proxy: tuple[str, ...] = ("127.0.0.1",)) -> None:
        self.addresses = list(addresses)
        self.proxy = list(proxy)
        self.asked: list[str] = []

    async def lookup(self, host: str, port: int) -> list[str]:
        if host == "127.0.0.1":
            return self.proxy
        self.asked.append(host)
        return self.addresses


class Proxy:
    """A real one, which connects to 127.0.0.1 whatever address is asked for, but for one that it waits for in vain."""

    def __init__(self, expected: str | None = None, dead: str | None = None) -> None:
        self.expected = expected
        self.dead = dead
        self.heads: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.expected is not None and f"Proxy-Authorization: {self.expected}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        address, _, port = head.split(" ")[1].rpartition(":")
        if address == self.dead:
            await reader.read()
            writer.close()
            return
        there, to = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        await asyncio.gather(self.pump(reader, to), self.pump(there, writer))

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(65_536):
                sink.write(piece)
                await sink.drain()
        sink.close()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[ProxyAddress]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield ProxyAddress.read(f"http://127.0.0.1:{self.port}")
        finally:
            server.close()


async def take(request: web.BaseRequest) -> web.Response:
    return web.Response(text=f"{request.host} {(await request.read()).decode()}")


async def test_plain_http_goes_through_a_tunnel_to_the_vetted_address() -> None:
    proxy, names = Proxy(), Names(PUBLIC)
    async with (
        proxy.opened() as address,
        Sender(POLICY, resolver=names, proxy=address) as sender,
        http_receiver(take) as port,
    ):
        for _ in range(2):
            answer = await sender.send(f"http://hook.example:{port}/", b"{}", {}, 5)
            assert (answer.status, answer.body) == (200, f"hook.example:{port} {{}}")
    (head,) = proxy.heads  # one tunnel, kept
    assert head.startswith(f"CONNECT {PUBLIC}:{port} HTTP/1.1\r\n")
    assert "hook.example" not in head
    assert names.asked == ["hook.example"]


async def test_tls_carries_the_name_and_is_verified_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    proxy = Proxy()
    async with (
        proxy.opened() as address,
        Sender(POLICY, resolver=Names(PUBLIC), proxy=address) as sender,
        http_receiver(take, authority.server()) as port,
    ):
        assert (await sender.send(f"https://hook.example:{port}/", b"{}", {}, 5)).status == 200
        wrong = await sender.send(f"https://other.example:{port}/", b"{}", {}, 5)
    assert (wrong.status, wrong.error) == (None, "tls")
    assert "Hostname mismatch" in (wrong.message or "")
    assert all(head.startswith(f"CONNECT {PUBLIC}:{port} ") for head in proxy.heads)


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/", "http://127.0.0.1/"]
)
async def test_forbidden_literals_never_reach_the_proxy(target: str) -> None:
    proxy = Proxy()
    async with proxy.opened() as address, Sender(POLICY, resolver=Names(PUBLIC), proxy=address) as sender:
        answer = await sender.send(target, b"{}", {}, 5)
    assert (answer.error, proxy.heads) == ("egress", [])


async def test_a_name_inside_never_reaches_the_proxy() -> None:
    proxy = Proxy()
    async with proxy.opened() as address, Sender(POLICY, resolver=Names("10.0.0.1"), proxy=address) as sender:
        answer = await sender.send("http://inside.example/", b"{}", {}, 5)
    assert (answer.error, proxy.heads) == ("egress", [])


async def test_the_ports_hold_through_a_proxy_too() -> None:
    proxy = Proxy()
    policy = AddressPolicy.from_cidrs(["127.1.0.0/16"], frozenset({443}))
    async with proxy.opened() as address, Sender(policy, resolver=Names(PUBLIC), proxy=address) as sender:
        answer = await sender.send("http://hook.example:8080/", b"{}", {}, 5)
    assert (answer.error, proxy.heads) == ("egress", [])


async def test_credentials_are_sent_to_the_proxy_and_to_nobody_else() -> None:
    seen: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(str(dict(request.headers)))
        return web.Response()

    expected = "Basic " + b64encode(b"us er:p@ss").decode()
    proxy = Proxy(expected)
    async with proxy.opened() as plain, http_receiver(handler) as port:
        url = f"http://hook.example:{port}/"
        known = ProxyAddress.read(f"http://us%20er:p%40ss@127.0.0.1:{plain.port}")
        async with Sender(POLICY, resolver=Names(PUBLIC), proxy=known) as sender:
            assert (await sender.send(url, b"{}", {}, 5)).status == 200
        async with Sender(POLICY, resolver=Names(PUBLIC), proxy=plain) as sender:
            refused = await sender.send(url, b"{}", {}, 5)
    assert (refused.status, refused.error) == (None, "proxy")
    assert "407 Proxy Authentication Required" in (refused.message or "")
    assert "p@ss" not in repr(known)
    assert len(seen) == 1
    assert "Basic" not in seen[0]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (b"SSH-2.0\r\n\r\n", "not HTTP"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 50_000, "no end"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "bytes of its own"),
    ],
)
async def test_a_proxy_that_does_not_connect_is_told_as_itself(said: bytes, words: str) -> None:
    async with raw_receiver(says(said)) as port:
        address = ProxyAddress("127.0.0.1", port)
        async with Sender(POLICY, resolver=Names(PUBLIC), proxy=address) as sender:
            answer = await sender.send("http://hook.example/", b"{}", {}, 5)
    assert (answer.status, answer.error) == (None, "proxy")
    assert words in (answer.message or "")


@pytest.mark.parametrize("addresses", [(PUBLIC,), (PUBLIC, OTHER)])
async def test_a_proxy_that_hangs_is_under_the_deadline(addresses: tuple[str, ...]) -> None:
    async with raw_receiver(says(hold=True)) as port:
        async with Sender(POLICY, resolver=Names(*addresses), proxy=ProxyAddress("127.0.0.1", port)) as sender:
            answer = await sender.send("http://hook.example/", b"{}", {}, 0.3)
            assert answer.error == "timeout"
        assert sender.open_sockets == 0


async def test_an_address_that_the_proxy_waits_for_in_vain_leaves_the_next_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dialer, "EACH_S", 0.1)
    proxy = Proxy(dead=PUBLIC)
    async with (
        proxy.opened() as address,
        Sender(POLICY, resolver=Names(PUBLIC, OTHER), proxy=address) as sender,
        http_receiver(take) as port,
    ):
        answer = await sender.send(f"http://hook.example:{port}/", b"{}", {}, 5)
        assert (answer.status, sender.open_sockets) == (200, 1)
    assert [head.split(" ")[1] for head in proxy.heads] == [f"{PUBLIC}:{port}", f"{OTHER}:{port}"]


async def test_an_address_of_the_proxy_that_swallows_packets_leaves_the_next_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dialer, "EACH_S", 0.1)
    proxy, names = Proxy(), Names(PUBLIC, proxy=(OTHER, "127.0.0.1"))
    async with (
        proxy.opened() as address,
        Sender(POLICY, resolver=names, proxy=address) as sender,
        http_receiver(take) as port,
    ):
        with swallowing(OTHER, proxy.port):
            answer = await sender.send(f"http://hook.example:{port}/", b"{}", {}, 5)
        assert (answer.status, sender.open_sockets) == (200, 1)


@contextlib.contextmanager
def swallowing(address: str, port: int) -> Iterator[None]:
    """A listener whose line is full: whoever comes then is not even refused."""
    with socket.create_server((address, port), backlog=0), contextlib.ExitStack() as held:
        for _ in range(2):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        yield


@pytest.mark.parametrize(
    "url", ["https://p.example", "socks5://p.example", "p.example:3128", "http://", "http://p/x", "http://p:99999"]
)
def test_what_is_no_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        ProxyAddress.read(url.replace("http://p", "http://me:swordfish@p"))
    assert "swordfish" not in str(caught.value)
