"""One HTTP attempt: sends bytes to a vetted target and brings back an `Answer`, never an exception of the network.

Owns the aiohttp session of a process. The invariants: one total deadline covers lookup, connect, TLS, upload, head
and body; nothing is sent to an address that the policy forbids; at most 20 kB of an answer is kept, whatever is
sent. Refuses redirects, cookies, proxies from the environment, and compressed transfers (it asks for none, and
inflates what comes anyway under its own cap).
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final, Self

import aiohttp
from yarl import URL

from services.webhooks.answers import (
    BODY_CAP_BYTES,
    HEADERS_CAP_CHARS,
    HEADERS_MAX,
    Answer,
    ErrorKind,
    body_text,
    clean,
)
from services.webhooks.failures import EXPECTED, explain
from services.webhooks.heads import BoundedHandler
from shared.runtime.egress import AddressPolicy, Resolver, SocketGate, build_connector, check_url

CONNECTIONS_MAX: Final = 256
CONNECTIONS_PER_HOST: Final = 128
SOCKETS_MAX: Final = 512
"""In use and idle together; above it a request asks for its connection to be closed instead of kept."""
KEEPALIVE_S: Final = 4.0
"""Below the 5 s after which uvicorn and Node close: reusing a connection they are closing loses the attempt."""
TIMEOUT_MIN_S: Final = 0.001
CLOSE_LIMIT_S: Final = 1.0
TARGETS_CACHED: Final = 4096
USER_AGENT: Final = "Holdfast-Webhooks/1"

# Set here rather than skipped: a list of headers to skip costs aiohttp more per request than sending them does.
_ALWAYS: Final = {"User-Agent": USER_AGENT, "Content-Type": "application/json", "Accept-Encoding": "identity"}


class Sender:
    """`start` inside the loop that will use it, `close` at the end; `send` from any number of tasks between."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        limit: int = CONNECTIONS_MAX,
        limit_per_host: int = CONNECTIONS_PER_HOST,
        sockets_max: int = SOCKETS_MAX,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._limit = limit
        self._limit_per_host = limit_per_host
        self._sockets_max = sockets_max
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._gate = SocketGate(policy)
        self._session: aiohttp.ClientSession | None = None
        self._target = lru_cache(TARGETS_CACHED)(self._read_target)

    async def start(self) -> None:
        connector = build_connector(
            self._policy,
            limit=self._limit,
            limit_per_host=self._limit_per_host,
            keepalive_s=KEEPALIVE_S,
            resolver=self._resolver,
            ssl_context=self._ssl_context,
            gate=self._gate,
        )
        loop = asyncio.get_running_loop()
        # aiohttp has no parameter for this. A class for responses would see only what somebody waits for.
        connector._factory = partial(BoundedHandler, loop=loop)  # type: ignore[assignment]  # noqa: SLF001
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_ALWAYS,
            auto_decompress=False,
            raise_for_status=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Bounded: a connection that still flushes to a receiver that does not read is cut."""
        session, self._session = self._session, None
        if session is None:
            return
        closing = asyncio.ensure_future(session.close())
        _, late = await asyncio.wait({closing}, timeout=CLOSE_LIMIT_S)
        if late:
            self._gate.cut()
            await asyncio.wait(late, timeout=CLOSE_LIMIT_S)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def open_sockets(self) -> int:
        """Connections alive, in use or idle or still closing."""
        return self._gate.open_count

    async def send(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """POST `body`; every network outcome is an Answer. Raises only CancelledError, and RuntimeError unstarted."""
        session = self._session
        if session is None:
            raise RuntimeError("the sender is not started")
        if self._gate.is_crowded(self._sockets_max):
            headers = {**headers, "Connection": "close"}
        began = time.perf_counter()
        try:
            response = await session.post(
                self._target(url), data=body, headers=headers, allow_redirects=False, timeout=_deadline(timeout_s)
            )
        except EXPECTED as error:
            kind, message = explain(error, timeout_s=timeout_s, part="answer")
            return Answer(None, kind, message, _ms_since(began))
        return await self._take(response, began, timeout_s)

    async def _take(self, response: aiohttp.ClientResponse, began: float, timeout_s: float) -> Answer:
        failure: tuple[ErrorKind | None, str | None] = (None, None)
        raw, complete = bytearray(), False
        try:
            complete = await _read_capped(response.content, raw)
        except EXPECTED as error:
            failure = explain(error, timeout_s=timeout_s, part="end of the body")
        finally:  # a cancelled task must not leave its connection behind
            if complete:
                response.release()
            else:
                _hang_up(response)
        text, truncated = "", not complete
        if raw:
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            text, truncated = body_text(bytes(raw), encoding, complete=complete)
        return Answer(response.status, *failure, _ms_since(began), _kept_headers(response), text, truncated)

    def _read_target(self, url: str) -> URL:
        # encoded: aiohttp must connect to, and send, the very text that was judged.
        return URL(check_url(url, self._policy).url, encoded=True)


async def _read_capped(content: aiohttp.StreamReader, raw: bytearray) -> bool:
    """True when `raw` took the whole body; at most one byte over the cap is read, which shows that there is more.

    Not `response.read()`: it also waits for the upload to end, without the deadline, and a receiver that answers
    early and never reads would hold the slot for ever.
    """
    while not content.at_eof():
        room = BODY_CAP_BYTES + 1 - len(raw)
        if room <= 0:
            return False
        raw += await content.read(room)
    return True


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Abort first: a mere close would go on flushing the upload."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


def _kept_headers(response: aiohttp.ClientResponse) -> tuple[tuple[str, str], ...]:
    kept: list[tuple[str, str]] = []
    room = HEADERS_CAP_CHARS
    for name, value in response.headers.items():
        room -= len(name) + len(value)
        if room < 0 or len(kept) >= HEADERS_MAX:
            break
        kept.append((name, value if value.isascii() else clean(value, len(value))))
    return tuple(kept)


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000.0


@lru_cache(maxsize=256)
def _deadline(timeout_s: float) -> aiohttp.ClientTimeout:
    # 0 means "none" to aiohttp; and it rounds deadlines over the threshold up to whole seconds.
    return aiohttp.ClientTimeout(total=max(timeout_s, TIMEOUT_MIN_S), ceil_threshold=float("inf"))
