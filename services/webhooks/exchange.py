"""One request and its answer, on a connection of aiohttp's pool.

aiohttp's connector finds, makes and vets the connection, and its protocol parses what comes; its session, which costs
more than both together (ADR 0015), is left out: what is sent is always one POST of bytes. The invariants: a connection
goes back to the pool only when the whole answer came and nothing of the request waits to be sent, and is used again
only when nothing came meanwhile; of an answer's body at most one byte
over the cap is read. A kept connection that ends before a byte of the answer came was closed while it was idle: the
request is sent again on another one, within the same attempt (RFC 9112 §9.3.1 allows it where a repetition is told,
and `webhook-id` tells). Refuses header values that would begin another header.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from yarl import URL

from services.webhooks.answers import BODY_CAP_BYTES
from services.webhooks.heads import BoundedHandler

JOINED_MOST_BYTES: Final = 16_384
"""Up to here head and body are one write; above, copying them together costs more than a second write."""
STALE_MOST: Final = 3
"""Kept connections that may turn out dead, in one attempt, before that is the attempt's failure."""
_SWITCHING: Final = 101
_NO_LIMIT: Final = aiohttp.ClientTimeout(total=None)  # the caller's deadline covers everything
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests of one URL go: `pattern` is what the connector is asked with, `head` how each of them begins."""

    pattern: aiohttp.ClientRequest
    head: str

    @classmethod
    def to(cls, url: URL, always: Mapping[str, str], context: ssl.SSLContext | None = None) -> "Route":
        """Inside the running loop; `url` as it was judged, encoded. Each `context` has connections of its own."""
        first = f"POST {url.raw_path_qs} HTTP/1.1\r\n{_lines({'Host': url.host_port_subcomponent or ''})}"
        pattern = aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop(), ssl=context or True)
        return cls(pattern, first + _lines(always))


class Exchange:
    """Once: `run`, then always `leave`. `answer` is there when a head came, `complete` when the body did."""

    def __init__(self, connector: aiohttp.BaseConnector, route: Route) -> None:
        self.answer: RawResponseMessage | None = None
        self.raw = bytearray()
        self.complete = False
        self._connector = connector
        self._route = route
        self._connection: aiohttp.connector.Connection | None = None

    async def run(self, headers: Mapping[str, str], body: bytes, *, last: bool) -> None:
        """Send, and read the answer. `last`: the connection is not kept. Raises what `failures.EXPECTED` lists."""
        head = f"{self._route.head}{_lines(headers)}Content-Length: {len(body)}\r\n\r\n".encode()
        for left in range(STALE_MOST, -1, -1):
            protocol, transport = await self._connect()
            if last:
                protocol.force_close()
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            if len(body) <= JOINED_MOST_BYTES:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
            try:
                message, content = await protocol.read()
                break
            except aiohttp.ClientConnectionError:
                if not left or not _was_stale(protocol):
                    raise
                self.leave()
        while 100 <= message.code <= 199 and message.code != _SWITCHING:  # BoundedHandler says how many
            message, content = await protocol.read()
        self.answer = message
        self.complete = await self._read(content)

    async def _connect(self) -> tuple[ResponseHandler, asyncio.Transport]:
        while True:
            connection = self._connection = await self._connector.connect(self._route.pattern, [], _NO_LIMIT)
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or transport.is_closing():
                raise aiohttp.ServerDisconnectedError
            if not protocol.should_close:
                return protocol, transport
            self.leave()  # something came while it was idle, and would be taken for the answer

    def leave(self) -> None:
        """Give the connection back, or end it: abruptly, because a mere close would go on flushing the upload."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        transport = connection.transport
        if self.complete and transport is not None and not transport.get_write_buffer_size():
            connection.release()
            return
        if transport is not None:
            transport.abort()
        connection.close()

    async def _read(self, content: aiohttp.StreamReader) -> bool:
        """True when `raw` took the whole body; the byte over the cap shows that there is more."""
        while not content.at_eof():
            room = BODY_CAP_BYTES + 1 - len(self.raw)
            if room <= 0:
                return False
            self.raw += await content.read(room)
        return True


def _was_stale(protocol: ResponseHandler) -> bool:
    """Kept from an earlier request, and ended without a byte of an answer: its end had begun before we wrote."""
    return isinstance(protocol, BoundedHandler) and protocol.requests > 1 and not protocol.heard


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if len(headers) != lines.count("\n") or _CONTROL.search(lines.replace("\r\n", "")):
        raise ValueError("a header holds a control character")
    return lines
