"""Connections to what a tenant named, for whoever does not go through aiohttp's own connector: vetted and pinned.

A name is looked up once, its addresses are judged by the `AddressPolicy`, and the socket goes to one of those very
addresses. With a proxy, the lookup and the verdict are still made here, and `CONNECT` names the address: a proxy that
looked names up again would undo the pinning. TLS is the caller's, end to end, with the name in SNI and certificate.
A proxy's own address is the operator's word and is not judged.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from shared.runtime.addresses import AddressPolicy, EgressRefused
from shared.runtime.egress import Resolver, SocketGate, SystemResolver, VettingResolver
from shared.runtime.proxy import ProxyAddress, ProxyFailed, tunnel

EACH_S: Final = 3.0
"""For one address while others are left to try: a network that swallows packets must not use up the deadline."""
PROXIED_ADDRESSES: Final = 3


class Dialer:
    """`connect` from any number of tasks. `gate` counts the sockets, whoever they lead to."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        resolver: Resolver | None = None,
        proxy: ProxyAddress | None = None,
        gate: SocketGate | None = None,
    ) -> None:
        self._policy = policy
        self._names = resolver or SystemResolver()
        self._vetted = VettingResolver(policy, self._names)
        self._proxy = proxy
        self._gate = gate or SocketGate(policy)

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected, non-blocking socket; the caller has the deadline.

        Raises EgressRefused, socket.gaierror, ProxyFailed, and OSError of the last address that was tried.
        """
        if reason := self._policy.port_verdict(port):
            raise EgressRefused(reason, host)
        found = [entry["host"] for entry in await self._vetted.resolve(host.strip("[]"), port)]
        if self._proxy is None:
            return await self._first(found, port)
        return await self._through(self._proxy, found, port)

    async def _first(self, addresses: list[str], port: int, *, ours: bool = False) -> socket.socket:
        for address in addresses[:-1]:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(EACH_S):
                    return await self._direct(address, port, ours=ours)
        return await self._direct(addresses[-1], port, ours=ours)

    async def _direct(self, address: str, port: int, *, ours: bool = False) -> socket.socket:
        """`ours`: an address that the operator named, which no verdict is asked for."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        target = (address, port)
        sock = (self._gate.make if ours else self._gate)((family, socket.SOCK_STREAM, 0, "", target))
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, target)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _through(self, proxy: ProxyAddress, addresses: list[str], port: int) -> socket.socket:
        *others, last = addresses[:PROXIED_ADDRESSES]
        for address in others:
            sock = await self._reach(proxy)
            with contextlib.suppress(ProxyFailed, TimeoutError):
                async with asyncio.timeout(EACH_S):
                    return await _tunnelled(sock, proxy, address, port)
        return await _tunnelled(await self._reach(proxy), proxy, last, port)

    async def _reach(self, proxy: ProxyAddress) -> socket.socket:
        try:
            if found := await self._names.lookup(proxy.host, proxy.port):
                return await self._first(found, proxy.port, ours=True)
            words = "it has no address"
        except OSError as error:
            words = error.strerror or "it has no address"
        raise ProxyFailed(f"the proxy at {proxy.host}:{proxy.port} does not answer: {words}")


async def _tunnelled(sock: socket.socket, proxy: ProxyAddress, address: str, port: int) -> socket.socket:
    """The same socket, which it closes when there is no tunnel."""
    try:
        await tunnel(sock, proxy, address, port)
    except BaseException:
        sock.close()
        raise
    return sock


class ProxyConnector(aiohttp.BaseConnector):
    """aiohttp's pool over tunnels, plain HTTP too: a proxy that is handed a name would look it up once more.

    `_create_connection` is what every connector of aiohttp implements. Pools are keyed by the name, as ever.
    """

    def __init__(
        self, dialer: Dialer, ssl_context: ssl.SSLContext, *, limit: int, limit_per_host: int, keepalive_s: float
    ) -> None:
        super().__init__(limit=limit, limit_per_host=limit_per_host, keepalive_timeout=keepalive_s)
        self._dialer = dialer
        self._default = ssl_context

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],  # noqa: ARG002 - aiohttp's
        timeout: aiohttp.ClientTimeout,  # noqa: ARG002, ASYNC109 - aiohttp's
    ) -> ResponseHandler:
        host, port = req.url.raw_host or "", req.url.port or 0
        try:
            sock = await self._dialer.connect(host, port)
        except socket.gaierror as error:
            raise aiohttp.ClientConnectorDNSError(req.connection_key, error) from error
        except ProxyFailed:
            raise
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        context = None
        if req.url.scheme == "https":
            context = req.ssl if isinstance(req.ssl, ssl.SSLContext) else self._default
        name = host.rstrip(".") if context is not None else None
        make = cast("Callable[[], ResponseHandler]", self._factory)
        try:
            _, protocol = await self._loop.create_connection(make, sock=sock, ssl=context, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        return protocol
