"""The sender against real receivers on loopback, honest and hostile."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from services.webhooks.answers import BODY_CAP_BYTES, HEADERS_CAP_CHARS, HEADERS_MAX, classify, control_of
from services.webhooks.heads import INFORMATIONAL_MAX
from services.webhooks.sender import Sender
from shared.runtime.egress import AddressPolicy
from tests.integration.webhooks.receivers import Talk, http_receiver, raw_receiver, says, self_signed
from tests.stalls import within

LOOPBACK = AddressPolicy.from_cidrs(["127.0.0.0/8"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(LOOPBACK) as started:
        yield started


class Names:
    """A resolver whose every lookup gives the next answer, and the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def lookup(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_delivery_arrives_as_it_was_given(sender: Sender) -> None:
    seen: list[tuple[web.BaseRequest, bytes]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append((request, await request.read()))
        return web.Response(status=202, text="thänks", headers={"X-Id": "7"})

    async with http_receiver(handler) as port:
        answer = await sender.send(
            f"http://127.0.0.1:{port}/hook%2Fa?b=%20c", b'{"a":1}', {"webhook-id": "evt_1", "X-Mine": "y"}, 5
        )
    assert (answer.status, answer.error, answer.body, answer.body_truncated) == (202, None, "thänks", False)
    assert answer.header("x-id") == "7"
    assert 0 < answer.latency_ms < 5_000
    request, body = seen[0]
    assert body == b'{"a":1}'
    assert request.method == "POST"
    assert request.raw_path == "/hook%2Fa?b=%20c"
    assert request.headers["webhook-id"] == "evt_1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("Holdfast")


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 404, 410, 500])
async def test_every_status_is_an_answer_and_redirects_are_not_followed(sender: Sender, status: int) -> None:
    paths: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with http_receiver(handler) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error) == (status, None)
    assert paths == ["/"]


async def test_cookies_do_not_stick(sender: Sender) -> None:
    cookies: list[str | None] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        cookies.append(request.headers.get("cookie"))
        return web.Response(headers={"Set-Cookie": "a=b; Path=/"})

    async with http_receiver(handler) as port:
        for _ in range(2):
            await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert cookies == [None, None]


async def test_connections_are_reused_and_their_number_is_bounded() -> None:
    peers: set[object] = set()
    together = asyncio.Barrier(2)

    async def handler(request: web.BaseRequest) -> web.Response:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        await together.wait()
        return web.Response()

    async with Sender(LOOPBACK, limit_per_host=2) as sender, http_receiver(handler) as port:
        answers = await asyncio.gather(*(sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len(peers) == 2


async def test_above_the_bound_on_sockets_connections_are_not_kept() -> None:
    peers: list[object] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        peers.append(request.transport.get_extra_info("peername") if request.transport else None)
        return web.Response()

    async with Sender(LOOPBACK, sockets_max=-1) as sender, http_receiver(handler) as port:
        for _ in range(3):
            assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 200
    assert len(set(peers)) == 3


async def test_nothing_listening_is_refused(sender: Sender) -> None:
    answer = await sender.send(f"http://127.0.0.1:{closed_port()}/", b"{}", {}, 5)
    assert (answer.status, answer.error) == (None, "refused")
    assert answer.message


async def test_a_connection_reset_or_closed_before_an_answer_is_disconnected(sender: Sender) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    for talk in (reset, says()):
        async with raw_receiver(talk) as port:
            answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
        assert (answer.status, answer.error) == (None, "disconnected")


async def test_what_is_not_http_is_a_protocol_error(sender: Sender) -> None:
    for piece in (b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"):
        async with raw_receiver(says(piece)) as port:
            answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
        assert (answer.status, answer.error) == (None, "protocol"), piece


async def test_a_head_without_end_is_too_large(sender: Sender) -> None:
    async with raw_receiver(says(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error) == (None, "too_large")
    many = b"".join(b"X-%d: y\r\n" % n for n in range(100_000))
    async with raw_receiver(says(b"HTTP/1.1 200 OK\r\n" + many + b"\r\n")) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert answer.status is None
    assert answer.error in ("too_large", "protocol")


async def test_the_headers_kept_are_bounded_and_storable(sender: Sender) -> None:
    many = b"".join(b"X-%d: \xff\xc3\xa9\r\n" % n for n in range(HEADERS_MAX + 20))
    async with raw_receiver(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + many + b"\r\n")) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert len(answer.headers) == HEADERS_MAX
    assert answer.header("x-1") == "\ufffdé"


@pytest.mark.parametrize(
    "others",
    [b"X-Policy: %s\r\nX-Trace: %s\r\n" % (b"p" * 5_000, b"t" * 5_000), b"X-Hop: 1\r\n" * (HEADERS_MAX + 20)],
)
async def test_what_a_receiver_asks_for_is_heard_behind_whatever_headers(sender: Sender, others: bytes) -> None:
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n" + others + b"Retry-After: 7\r\nWebhook-Delivery: disable\r\n"
    async with raw_receiver(says(head + b"\r\n")) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert classify(answer, now_s=0.0).retry_after_s == 7
    assert control_of(answer) == "disable"
    assert answer.header("content-length") == "0"
    assert len(answer.headers) <= HEADERS_MAX
    assert sum(len(name) + len(value) for name, value in answer.headers) <= HEADERS_CAP_CHARS


async def test_a_header_that_is_too_long_to_be_kept_hides_none_after_it(sender: Sender) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-A: %s\r\nX-B: %s\r\nX-C: seen\r\nContent-Length: 0\r\n\r\n"
    async with raw_receiver(says(head % (b"a" * 5_000, b"b" * 5_000))) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert [name for name, _ in answer.headers] == ["X-A", "X-C", "Content-Length"]


@pytest.mark.parametrize(
    ("talk", "status"),
    [
        (says(hold=True), None),  # no answer
        (says(b"HTTP/1.1 200 OK\r\n", hold=True), None),  # half a head
        (says(b"HTTP/1.1 100 Continue\r\n\r\n", hold=True), None),
        (says(b"HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\npart", hold=True), 500),  # half a body
    ],
)
async def test_one_deadline_covers_head_and_body(sender: Sender, talk: Talk, status: int | None) -> None:
    async with raw_receiver(talk) as port, within(2):
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 0.2)
    assert (answer.status, answer.error) == (status, "timeout")
    assert 190 <= answer.latency_ms < 1_500
    if status:
        assert (answer.body, answer.body_truncated) == ("part", True)


async def test_a_body_that_trickles_does_not_outlast_the_deadline(sender: Sender) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_receiver(trickle) as port, within(2):
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 0.3)
    assert (answer.status, answer.error) == (200, "timeout")


async def test_a_head_that_trickles_does_not_outlast_the_deadline(sender: Sender) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (b"HTTP/1.1 200 OK\r\nX: ", *[b"x"] * 1_000):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_receiver(trickle) as port, within(2):
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 0.3)
    assert (answer.status, answer.error) == (None, "timeout")


@pytest.mark.parametrize(
    ("piece", "hold", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", False, "what came is not HTTP: Bad status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", False, "Duplicate Content-Length"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", False, "head of the answer is too long"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 40, True, "more than 16 informational answers came instead of one"),
        (b"", True, "no answer within 0.2 s"),
        (b"", False, "the connection closed before the answer came"),
        (b"HTTP/1.1 2", False, "the connection closed before the answer came"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", True, "no end of the body within 0.2 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", False, "the connection closed before the end of the body"),
    ],
)
async def test_a_failure_is_told_in_words(sender: Sender, piece: bytes, hold: bool, words: str) -> None:
    limit_s = 0.2 if "within" in words else 5
    async with raw_receiver(says(piece, hold=hold)) as port:
        message = (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, limit_s)).message or ""
    assert words in message
    for trace in ("message=", "Error", "b'", 'b"', "400", "\n", "<"):
        assert trace not in message


async def test_what_is_not_there_is_told_in_words(sender: Sender) -> None:
    port = closed_port()
    answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert answer.message == f"nothing listens at 127.0.0.1:{port}"
    async with Sender(LOOPBACK, resolver=Names([])) as nameless:
        answer = await nameless.send("http://hook.example/", b"{}", {}, 5)
    assert (answer.error, answer.message) == ("dns", "no address for hook.example: no such name")


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


async def test_informational_answers_are_passed_over_up_to_a_bound(sender: Sender) -> None:
    async with raw_receiver(says(EARLY * INFORMATIONAL_MAX + OK)) as port:
        assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 200
    async with raw_receiver(says(EARLY * (INFORMATIONAL_MAX + 1) + OK)) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error) == (None, "protocol")
    assert "more than 16 informational answers" in (answer.message or "")


@pytest.mark.parametrize("first", [b"", OK], ids=["instead of an answer", "after it, on the idle connection"])
async def test_a_flood_of_informational_answers_is_hung_up_on(sender: Sender, first: bytes) -> None:
    cut = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        try:
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
                await writer.drain()
        finally:
            cut.set()

    async with raw_receiver(flood) as port, within(3):
        for _ in range(2):
            cut.clear()
            answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 30)
            assert (answer.status, answer.error) == ((200, None) if first else (None, "protocol"))
            await cut.wait()


async def test_informational_answers_are_counted_for_each_request_anew(sender: Sender) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readexactly(2)  # the body; the head was read
            writer.write(EARLY * 10 + OK)
            await reader.readuntil(b"\r\n\r\n")

    async with raw_receiver(talk) as port:
        for _ in range(4):
            assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 200


async def test_a_receiver_that_never_reads_the_upload_does_not_outlast_the_deadline(sender: Sender) -> None:
    async with raw_receiver(says(hold=True)) as port, within(2):
        answer = await sender.send(f"http://127.0.0.1:{port}/", bytes(1_000_000), {}, 0.3)
    assert (answer.status, answer.error) == (None, "timeout")


async def test_an_early_answer_does_not_wait_for_the_upload_nor_does_the_end(sender: Sender) -> None:
    async with raw_receiver(says(OK, hold=True)) as port, within(4):
        for _ in range(2):  # the connection with the unfinished upload is not used again
            answer = await sender.send(f"http://127.0.0.1:{port}/", bytes(16_000_000), {}, 2)
            assert (answer.status, answer.body) == (200, "ok")
        await sender.close()


async def test_an_upload_that_nobody_reads_is_given_up_by_the_kernel(
    monkeypatch: pytest.MonkeyPatch, sender: Sender
) -> None:
    monkeypatch.setattr("shared.runtime.egress.STALLED_UPLOAD_LIMIT_S", 0.3)
    async with raw_receiver(says(hold=True)) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", bytes(16_000_000), {}, 0.1)
        assert answer.error == "timeout"
        assert sender.open_sockets == 1  # still flushing
        async with asyncio.timeout(5):
            while sender.open_sockets:  # noqa: ASYNC110 - the kernel sets no event
                await asyncio.sleep(0.05)


async def test_an_upgrade_nobody_asked_for_is_an_answer_like_others(sender: Sender) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nrest"
    async with raw_receiver(says(head, hold=True)) as port, within(3):
        for _ in range(2):
            assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 2)).status == 101


async def test_waiting_for_a_free_connection_counts_against_the_deadline() -> None:
    async with Sender(LOOPBACK, limit_per_host=1) as sender, raw_receiver(says(hold=True)) as port, within(2):
        answers = await asyncio.gather(*(sender.send(f"http://127.0.0.1:{port}/", b"", {}, 0.2) for _ in range(3)))
    assert {answer.error for answer in answers} == {"timeout"}


@pytest.mark.parametrize("encoding", [b"", b"Content-Encoding: gzip\r\n"])
async def test_an_endless_body_stops_at_the_cap(sender: Sender, encoding: bytes) -> None:
    closed = asyncio.Event()

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + encoding + b"Connection: close\r\n\r\n")
        try:
            while True:
                writer.write(b"y" * 65_536)
                await writer.drain()
        finally:
            closed.set()

    async with raw_receiver(endless) as port, within(3):
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
        await asyncio.wait_for(closed.wait(), 2)  # we hung up
    assert (answer.status, answer.error, answer.body_truncated) == (200, None, True)
    assert answer.body == "y" * BODY_CAP_BYTES


async def test_a_gzip_bomb_stops_at_the_cap(sender: Sender) -> None:
    bomb = gzip.compress(bytes(40_000_000), 9)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with http_receiver(handler) as port, within(3):
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error, answer.body_truncated) == (200, None, True)
    assert len(answer.body) == BODY_CAP_BYTES


async def test_a_body_cut_short_keeps_its_status(sender: Sender) -> None:
    async with raw_receiver(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert (answer.status, answer.error, answer.body_truncated) == (200, "disconnected", True)


async def test_bytes_that_are_no_text_are_replaced(sender: Sender) -> None:
    async with raw_receiver(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na\xff\x00b")) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert answer.body == "a\ufffd\ufffdb"


async def test_a_certificate_nobody_vouches_for_is_a_tls_error(sender: Sender, tmp_path: Path) -> None:
    server_tls, cert_file = self_signed(tmp_path)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text="in")

    async with http_receiver(handler, server_tls) as port:
        answer = await sender.send(f"https://127.0.0.1:{port}/", b"{}", {}, 5)
        assert (answer.status, answer.error, answer.message) == (None, "tls", "TLS failed: self-signed certificate")
        trusting = ssl.create_default_context(cafile=str(cert_file))
        names = Names(["127.0.0.1"])
        async with Sender(LOOPBACK, ssl_context=trusting, resolver=names) as other:
            assert (await other.send(f"https://hook.example:{port}/", b"{}", {}, 5)).body == "in"
            wrong = await other.send(f"https://other.example:{port}/", b"{}", {}, 5)
            assert (wrong.status, wrong.error) == (None, "tls")


async def test_a_handshake_that_never_answers_is_under_the_deadline(sender: Sender) -> None:
    async with raw_receiver(says(hold=True)) as silent, within(2):
        answer = await sender.send(f"https://127.0.0.1:{silent}/", b"{}", {}, 0.3)
        assert answer.error == "timeout"


async def test_forbidden_targets_are_never_connected_to() -> None:
    connected = asyncio.Event()

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        connected.set()

    names = Names(["127.0.0.1"])
    async with Sender(AddressPolicy(), resolver=names) as sender, raw_receiver(talk) as port:
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "2130706433", "0x7f.1", "localhost", "a.example"):
            answer = await sender.send(f"http://{host}:{port}/", b"{}", {}, 5)
            assert (answer.status, answer.error) == (None, "egress"), host
            assert "refused" in (answer.message or "")
    assert not connected.is_set()
    assert names.asked == ["a.example"]


async def test_the_gate_holds_even_for_a_literal_that_skips_the_url_check() -> None:
    import aiohttp

    from shared.runtime.egress import EgressRefused, build_connector

    connector = build_connector(AddressPolicy(), limit=5, limit_per_host=5, keepalive_s=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"):
            with pytest.raises(EgressRefused):
                await session.post(f"http://{host}:9/")


async def test_a_name_that_rebinds_is_refused_once_it_points_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.runtime.egress.DNS_CACHE_S", 0)
    hits = []

    async def handler(request: web.BaseRequest) -> web.Response:
        hits.append(request.host)
        return web.Response(headers={"Connection": "close"})

    # 127.0.0.0/24 plays the public network, 127.1.0.0/16 the private one.
    policy = AddressPolicy.from_cidrs(["127.0.0.0/24"])
    names = Names(["127.0.0.1"], ["127.1.0.1"])
    async with Sender(policy, resolver=names) as sender, http_receiver(handler) as port:
        first = await sender.send(f"http://rebind.example:{port}/", b"{}", {}, 5)
        second = await sender.send(f"http://rebind.example:{port}/", b"{}", {}, 5)
    assert (first.status, first.error) == (200, None)
    assert (second.status, second.error) == (None, "egress")
    assert len(hits) == 1
    assert len(names.asked) == 2


async def test_of_mixed_addresses_only_the_permitted_one_is_used() -> None:
    async with raw_receiver(says(OK)) as port:
        names = Names(["10.255.255.1", "127.0.0.1", "fd00::1"])
        async with Sender(LOOPBACK, resolver=names) as sender, within(2):
            answer = await sender.send(f"http://mixed.example:{port}/", b"{}", {}, 5)
    assert answer.status == 200


async def test_an_unknown_name_is_a_dns_error_and_lookups_are_shared() -> None:
    class Slow(Names):
        async def lookup(self, host: str, port: int) -> list[str]:
            await asyncio.sleep(0.05)
            return await super().lookup(host, port)

    names = Slow([])
    async with Sender(LOOPBACK, resolver=names) as sender:
        answers = await asyncio.gather(*(sender.send("http://gone.example/", b"{}", {}, 5) for _ in range(10)))
    assert {answer.error for answer in answers} == {"dns"}
    assert len(names.asked) == 1


async def test_a_lookup_that_hangs_is_under_the_deadline() -> None:
    class Hung(Names):
        async def lookup(self, host: str, port: int) -> list[str]:
            await asyncio.Event().wait()
            return []

    async with Sender(LOOPBACK, resolver=Hung([])) as sender, within(2):
        answer = await sender.send("http://hung.example/", b"{}", {}, 0.2)
    assert answer.error == "timeout"


async def test_a_header_that_cannot_be_written_is_an_answer_too(sender: Sender) -> None:
    async with raw_receiver(says(OK)) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {"x-a": "b\r\nc: d"}, 5)
    assert (answer.status, answer.error) == (None, "request")


async def test_cancelling_a_send_cancels_it_and_frees_the_connection(sender: Sender) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
        begun.set()
        await reader.read(2)
        await reader.read()  # returns when the sender hangs up
        ended.set()

    async with raw_receiver(talk) as port:
        task = asyncio.create_task(sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 30))
        await asyncio.wait_for(begun.wait(), 2)
        await asyncio.sleep(0.05)  # the head is read, the body is being waited for
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 2)


async def test_an_unstarted_or_closed_sender_says_so() -> None:
    sender = Sender(LOOPBACK)
    with pytest.raises(RuntimeError, match="not started"):
        await sender.send("http://127.0.0.1/", b"", {}, 1)
    await sender.start()
    await sender.close()
    await sender.close()
    with pytest.raises(RuntimeError, match="not started"):
        await sender.send("http://127.0.0.1/", b"", {}, 1)


async def test_what_came_unasked_is_nobodys_answer(sender: Sender) -> None:
    """A second answer to the first request, while the connection is idle: the next request takes another one."""
    said = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        if not said.is_set():
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            said.set()
        await reader.read()

    async with raw_receiver(talk) as port:
        assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 201
        await said.wait()
        await asyncio.sleep(0.05)  # it is in our socket by now
        assert (await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 201


async def test_a_body_that_stops_being_http_is_told_at_once(sender: Sender) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"zz\r\n")
        await writer.drain()
        await reader.read()

    async with raw_receiver(talk) as port:
        answer = await sender.send(f"http://127.0.0.1:{port}/", b"{}", {}, 20)
    assert (answer.status, answer.error, answer.body) == (200, "protocol", "hello")
    assert answer.latency_ms < 10_000
