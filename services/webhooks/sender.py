"""One HTTP attempt: sends bytes to a vetted target and brings back an `Answer`, never an exception of the network.

Owns the pool of connections of a process. The invariants: one total deadline covers lookup, connect, TLS, upload, head
and body, an OAuth2 token and the proxy; nothing is sent to an address that the policy forbids; at most 20 kB of an
answer is kept, whatever is sent. Knows no redirects or cookies, and refuses compressed transfers (it asks for none,
and inflates what comes anyway under its own cap).
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Final, Self

import aiohttp
from yarl import URL

from services.webhooks.access import Access
from services.webhooks.answers import (
    HEADERS_CAP_CHARS,
    HEADERS_MAX,
    HEEDED,
    Answer,
    ErrorKind,
    body_text,
    clean,
)
from services.webhooks.clients import ClientContexts
from services.webhooks.exchange import Exchange, Route
from services.webhooks.failures import EXPECTED, explain
from services.webhooks.heads import BoundedHandler
from services.webhooks.tokens import TokenFailed, Tokens
from shared.runtime.dialer import Dialer, ProxyConnector
from shared.runtime.egress import AddressPolicy, Resolver, SocketGate, SystemResolver, build_connector, check_url
from shared.runtime.proxy import ProxyAddress

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

UNAUTHORIZED: Final = 401

_ALWAYS: Final = {"User-Agent": USER_AGENT, "Content-Type": "application/json", "Accept-Encoding": "identity"}
_FORM: Final = {**_ALWAYS, "Content-Type": "application/x-www-form-urlencoded"}


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
        proxy: ProxyAddress | None = None,
    ) -> None:
        self._policy = policy
        self._proxy = proxy
        self._limit = limit
        self._limit_per_host = limit_per_host
        self._sockets_max = sockets_max
        self._resolver = resolver or SystemResolver()
        self._ssl_context = ssl_context
        self._gate = SocketGate(policy)
        self.dialer = Dialer(policy, resolver=self._resolver, proxy=proxy, gate=self._gate)
        self._connector: aiohttp.BaseConnector | None = None
        self._route = lru_cache(TARGETS_CACHED)(self._read_route)
        self._contexts = ClientContexts()
        self._tokens = Tokens(self._post_form)

    async def start(self) -> None:
        connector = self._connect_directly() if self._proxy is None else self._connect_by_proxy()
        loop = asyncio.get_running_loop()
        # aiohttp has no parameter for this. A class for responses would see only what somebody waits for.
        connector._factory = partial(BoundedHandler, loop=loop)  # type: ignore[assignment]  # noqa: SLF001
        self._connector = connector

    def _connect_directly(self) -> aiohttp.BaseConnector:
        return build_connector(
            self._policy,
            limit=self._limit,
            limit_per_host=self._limit_per_host,
            keepalive_s=KEEPALIVE_S,
            resolver=self._resolver,
            ssl_context=self._ssl_context,
            gate=self._gate,
        )

    def _connect_by_proxy(self) -> aiohttp.BaseConnector:
        return ProxyConnector(
            self.dialer,
            self._ssl_context or ssl.create_default_context(),
            limit=self._limit,
            limit_per_host=self._limit_per_host,
            keepalive_s=KEEPALIVE_S,
        )

    async def close(self) -> None:
        """Bounded: a connection that still flushes to a receiver that does not read is cut."""
        await self._tokens.close()
        connector, self._connector = self._connector, None
        if connector is None:
            return
        self._route.cache_clear()
        closing = asyncio.ensure_future(connector.close())
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

    async def send(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, access: Access | None = None
    ) -> Answer:
        """POST `body`; every network outcome is an Answer. Raises only CancelledError, and RuntimeError unstarted."""
        if access is None:
            return await self._once(url, body, headers, timeout_s)
        began = time.perf_counter()
        answer = await self._send_with(access, url, body, headers, timeout_s)
        return replace(answer, latency_ms=(time.perf_counter() - began) * 1000.0)

    async def _send_with(
        self, access: Access, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        """With a client certificate, a token, or both; one fresh token when the receiver does not take the first."""
        until_s = time.monotonic() + timeout_s
        token: str | None = None
        answer = Answer(None, "request", None, 0.0)
        context: ssl.SSLContext | None = None
        try:
            if access.pair is not None:
                async with asyncio.timeout(max(until_s - time.monotonic(), TIMEOUT_MIN_S)):
                    context = await self._contexts.of(*access.pair)
            for _ in range(1 if access.grant is None else 2):
                if access.grant is not None:
                    async with asyncio.timeout(max(until_s - time.monotonic(), TIMEOUT_MIN_S)):
                        token = await self._tokens.get(access.grant, instead_of=token)
                    headers = {**headers, "authorization": f"Bearer {token}"}
                answer = await self._once(url, body, headers, until_s - time.monotonic(), context, timeout_s)
                if answer.status != UNAUTHORIZED or time.monotonic() >= until_s:
                    break
        except TimeoutError:
            return Answer(None, "timeout", f"what lets us in was not ready within {timeout_s:g} s", 0.0)
        except TokenFailed as failed:
            return Answer(None, "oauth2", str(failed), 0.0)
        except ssl.SSLError as error:
            return Answer(None, "tls", f"OpenSSL does not take the client certificate: {error.reason}", 0.0)
        return answer

    async def _once(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        context: ssl.SSLContext | None = None,
        told_s: float | None = None,
        *,
        form: bool = False,
    ) -> Answer:
        """`told_s`: the whole deadline that people know of, where `timeout_s` is what is left of it."""
        if self._connector is None:
            raise RuntimeError("the sender is not started")
        if "accept" not in headers:  # a tenant may say it better
            headers = {"Accept": "*/*", **headers}
        crowded = self._gate.is_crowded(self._sockets_max)
        if crowded:
            headers = {**headers, "Connection": "close"}
        failure: tuple[ErrorKind | None, str | None] = (None, None)
        exchange: Exchange | None = None
        began = time.perf_counter()
        try:
            exchange = Exchange(self._connector, self._route_to(url, context, form=form))
            async with asyncio.timeout(max(timeout_s, TIMEOUT_MIN_S)):
                await exchange.run(headers, body, last=crowded)
        except EXPECTED as error:
            came = exchange is not None and exchange.answer is not None
            failure = explain(error, timeout_s=told_s or timeout_s, part="end of the body" if came else "answer")
        finally:  # a cancelled task must not leave its connection behind
            if exchange is not None:
                exchange.leave()
        return _answer(exchange, failure, (time.perf_counter() - began) * 1000.0)

    async def _post_form(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        return await self._once(url, body, headers, timeout_s, form=True)

    def _route_to(self, url: str, context: ssl.SSLContext | None, *, form: bool) -> Route:
        """One with a context is not kept: whoever forgets the context shall be rid of it, and of its private key."""
        return self._route(url, form) if context is None else self._read_route(url, form, context)

    def _read_route(self, url: str, form: bool, context: ssl.SSLContext | None = None) -> Route:
        # encoded: the connection is made to, and asked for, the very text that was judged.
        return Route.to(URL(check_url(url, self._policy).url, encoded=True), _FORM if form else _ALWAYS, context)


def _answer(exchange: Exchange | None, failure: tuple[ErrorKind | None, str | None], latency_ms: float) -> Answer:
    head = exchange.answer if exchange is not None else None
    if exchange is None or head is None:
        return Answer(None, *failure, latency_ms)
    text, truncated = "", not exchange.complete
    if exchange.raw:
        encoding = head.headers.get("Content-Encoding", "").strip().lower()
        text, truncated = body_text(bytes(exchange.raw), encoding, complete=exchange.complete)
    return Answer(head.code, *failure, latency_ms, _kept_headers(head.headers), text, truncated)


def _kept_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Those that are heeded first, then what there is room for: no other header makes a receiver unheard."""
    kept: list[tuple[str, str]] = []
    room = HEADERS_CAP_CHARS
    for name, value in sorted(headers.items(), key=lambda header: header[0].lower() not in HEEDED):
        if len(kept) == HEADERS_MAX:
            break
        if len(name) + len(value) > room:
            continue
        room -= len(name) + len(value)
        kept.append((name, value if value.isascii() else clean(value, len(value))))
    return tuple(kept)
