"""The edge of egress: an aiohttp connector that reaches only what an `AddressPolicy` allows.

Two lines of defence. The resolver vets every address that a name has, and the connection is made to those very
addresses: nobody resolves twice, so a rebinding name gains nothing. The gate makes each socket and is handed the
exact address about to be connected; it also sees the literal addresses, which aiohttp never shows to a resolver.
Both are documented aiohttp parameters (`resolver`, `socket_factory`), no private method is replaced.
Knows no proxies (`shared.runtime.dialer` does): a session over this connector must not trust the environment.

Only images with aiohttp import this module; the pure half is `shared.runtime.addresses`.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import Final, Protocol
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.runtime.addresses import AddressPolicy, EgressRefused, ParsedUrl, check_url

__all__ = [
    "AddressPolicy",
    "EgressRefused",
    "ParsedUrl",
    "Resolver",
    "SocketGate",
    "SystemResolver",
    "VettingResolver",
    "build_connector",
    "check_url",
]

LOOKUPS_AT_ONCE: Final = 32
LOOKUP_LIMIT_S: Final = 10.0
ADDRESSES_PER_NAME: Final = 16
STALLED_UPLOAD_LIMIT_S: Final = 30
"""A transport that is closed first flushes what it holds; to a peer that never reads, it would do so for ever."""
DNS_CACHE_S: Final = 10
"""How long vetted addresses are reused; aiohttp keeps at most 1,000 names and asks once per name at a time."""


class Resolver(Protocol):
    async def lookup(self, host: str, port: int) -> list[str]:
        """Addresses of an ASCII name in order of preference; OSError when there are none."""
        ...


class SystemResolver:
    """getaddrinfo, each call on a daemon thread of its own.

    uvloop's getaddrinfo has four threads for everything: four names behind a dead name server would stop all
    deliveries. And a pool's threads are joined at exit: a hung lookup would hold up the shutdown.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def lookup(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(LOOKUP_LIMIT_S):
                await self._free.acquire()
                return await self._start(host, port)
        except TimeoutError as error:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer for this name in {LOOKUP_LIMIT_S:g} s") from error

    def _start(self, host: str, port: int) -> "asyncio.Future[list[str]]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str] | None, error: OSError | None) -> None:
            self._free.release()  # when the thread ends, not when the waiter gives up: threads are the bound
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found or [])

        def work() -> None:
            found, failure = None, None
            try:
                # As bytes: the name is ASCII already, and str would pass through the old IDNA codec.
                infos = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
                found = list(dict.fromkeys(str(info[4][0]) for info in infos))
            except OSError as error:
                failure = error
            except UnicodeError:
                failure = socket.gaierror(socket.EAI_NONAME, "not a name that DNS can hold")
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: nobody waits
                loop.call_soon_threadsafe(settle, found, failure)

        try:
            threading.Thread(target=work, name="dns", daemon=True).start()
        except RuntimeError as error:  # the process may start no more threads
            self._free.release()
            raise socket.gaierror(socket.EAI_AGAIN, "no thread for the lookup") from error
        return answer


class VettingResolver(AbstractResolver):
    """Passes on the permitted addresses of a name; EgressRefused when it has addresses and none is permitted.

    A forbidden address beside a public one is dropped, not fatal: only what was vetted is ever connected to.
    """

    def __init__(self, policy: AddressPolicy, inner: Resolver) -> None:
        self._policy = policy
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        permitted: list[ResolveResult] = []
        refused: EgressRefused | None = None
        for address in (await self._inner.lookup(host, port))[:ADDRESSES_PER_NAME]:
            if reason := self._policy.verdict(address):
                refused = refused or EgressRefused(reason, host, address)
                continue
            own = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family in (socket.AF_UNSPEC, own):
                permitted.append(
                    ResolveResult(
                        hostname=host, host=address, port=port, family=own, proto=0, flags=socket.AI_NUMERICHOST
                    )
                )
        if permitted:
            return permitted
        raise refused or socket.gaierror(socket.EAI_NONAME, "the name has no address")

    async def close(self) -> None:
        """Nothing is held between lookups."""


AddrInfo = tuple[
    socket.AddressFamily | int,
    socket.SocketKind | int,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]


class SocketGate:
    """Makes every socket of a connector; the last word on the address that it is about to connect to."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._open: WeakSet[socket.socket] = WeakSet()

    @property
    def open_count(self) -> int:
        """Sockets alive, in use or idle: aiohttp bounds the first kind only, this lets a caller bound both."""
        for sock in [sock for sock in self._open if sock.fileno() < 0]:
            self._open.discard(sock)  # closed, but still held by the cycle of some traceback
        return len(self._open)

    def is_crowded(self, sockets_max: int) -> bool:
        """Cheap while it is false: the exact count is taken only when the rough one is over the bound."""
        return len(self._open) > sockets_max and self.open_count > sockets_max

    def __call__(self, info: AddrInfo) -> socket.socket:
        target = info[4]
        address, port = str(target[0]), int(target[1])
        if reason := self._policy.verdict(address) or self._policy.port_verdict(port):
            raise EgressRefused(reason, address, address)
        return self.make(info)

    def make(self, info: AddrInfo) -> socket.socket:
        """Without a verdict: for an address that the operator named."""
        family, kind, proto = info[:3]
        sock = socket.socket(family, kind, proto)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; counts unacknowledged data and closed windows alike
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_UPLOAD_LIMIT_S * 1000))
        self._open.add(sock)
        return sock

    def cut(self) -> None:
        """End every connection now, flushed or not: for a shutdown that has waited long enough."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def build_connector(
    policy: AddressPolicy,
    *,
    limit: int,
    limit_per_host: int,
    keepalive_s: float,
    resolver: Resolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
    gate: SocketGate | None = None,
) -> aiohttp.TCPConnector:
    """A connector whose every connection is vetted; call it inside the running loop, close it as usual.

    `limit` and `limit_per_host` bound the connections in use (waiters queue); `gate` is passed by who counts sockets.
    """
    return aiohttp.TCPConnector(
        limit=limit,
        limit_per_host=limit_per_host,
        keepalive_timeout=keepalive_s,
        resolver=VettingResolver(policy, resolver or SystemResolver()),
        use_dns_cache=True,
        ttl_dns_cache=DNS_CACHE_S,
        socket_factory=gate or SocketGate(policy),
        ssl=ssl_context or ssl.create_default_context(),
    )
