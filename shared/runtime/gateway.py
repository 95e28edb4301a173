"""A proxy on loopback, inside this process, for clients that resolve and connect by themselves: only vetted addresses.

A library whose sockets are not ours (obstore's are Rust's) is told to use it, so that the rules of the `Dialer` hold
for it too: the name is looked up once, here, and judged, and TLS stays between the library and its server. The
invariants: nobody without this process's own word gets through, and that only to the place that its URL was made for,
so no redirect leads anywhere else; a server's answers end at a bound. Refuses everything but `CONNECT` and requests
with a whole URL and a length, which are passed on one to a connection: what comes after one is not even read.
"""

import asyncio
import binascii
import contextlib
import hmac
import math
import re
import secrets
import socket
from base64 import b64decode
from collections import OrderedDict
from typing import Final
from urllib.parse import urlsplit

from shared.runtime.addresses import EgressRefused
from shared.runtime.dialer import Dialer

HEAD_MAX_BYTES: Final = 32_768
HEAD_LIMIT_S: Final = 10.0
LIFE_S: Final = 120.0  # longer than any attempt
PIECE_BYTES: Final = 65_536
ANSWERS_MAX_BYTES: Final = 256 * 1024
"""Of one connection: libraries read an error's body whole, and a server may send one without an end."""
FAILURES_KEPT: Final = 1_000
NO_WAY: Final = "the gateway has no connection"
_FIRST: Final = re.compile(r"([A-Z]{3,10}) (\S{1,8192}) HTTP/1\.1")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):([0-9]{1,5})")


class Elsewhere(ValueError):
    """The library would go where nobody sent it."""


class Gateway:
    """`start` inside the loop, `close` at the end; `why` tells what a library's own error does not."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._word = secrets.token_hex(24)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._failed: OrderedDict[tuple[str, int], Exception] = OrderedDict()

    def why(self, host: str, port: int) -> Exception | None:
        """What kept the newest connection to there from being made; None when it was made."""
        return self._failed.get((host, port))

    def url_for(self, host: str, port: int) -> str:
        """With this process's word in it: for the library alone, and for this one place, as `check_url` spells it."""
        if self._server is None:
            raise RuntimeError("the gateway is not started")
        return f"http://{f'{host}:{port}'.encode().hex()}:{self._word}@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_MAX_BYTES)

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
        try:
            async with asyncio.timeout(LIFE_S):
                await self._talk(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the library sees its connection end
        finally:
            if task is not None:
                self._open.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_LIMIT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        found = _FIRST.fullmatch(first)
        given = next(
            (line.partition(":")[2].strip() for line in lines if line.lower().startswith("proxy-authorization:")), ""
        )
        allowed = self._place_of(given)
        if found is None or allowed is None:
            await _answer(writer, 407, "ask with the word")
            return
        method, target = found.groups()
        place = _place(method, target)
        if place is None:
            await _answer(writer, 400, "a host and a port are needed")
            return
        host, port, path = place
        length = _length(lines) if method != "CONNECT" else 0
        if length is None:
            await _answer(writer, 411, "a length is needed")
            return
        self._failed.pop(allowed, None)
        try:
            sock = await self._connect(host, port, allowed)
        except (EgressRefused, OSError, Elsewhere) as error:
            self._failed[allowed] = error
            if len(self._failed) > FAILURES_KEPT:
                self._failed.popitem(last=False)
            await _answer(writer, 502, NO_WAY)
            return
        await self._pass_on(sock, reader, writer, method, path, lines, length)

    async def _connect(self, host: str, port: int, allowed: tuple[str, int]) -> socket.socket:
        if (host.strip("[]"), port) != allowed:
            raise Elsewhere(f"the server redirects to {host[:100]}:{port}, which is not followed")
        return await self._dialer.connect(host, port)

    def _place_of(self, given: str) -> tuple[str, int] | None:
        """Where who says this may go; None without this process's word."""
        try:
            user, _, word = b64decode(given.removeprefix("Basic "), validate=True).partition(b":")
            if not hmac.compare_digest(word, self._word.encode()):
                return None
            host, _, port = bytes.fromhex(user.decode()).decode().rpartition(":")
            return host, int(port)
        except (ValueError, binascii.Error):
            return None

    async def _pass_on(
        self,
        sock: socket.socket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        lines: list[str],
        length: int,
    ) -> None:
        there, to = await asyncio.open_connection(sock=sock)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection:"))]
                to.write(
                    "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")
                )
            up = asyncio.create_task(_pump(reader, to) if method == "CONNECT" else _pass_body(reader, to, length))
            try:
                await _pump(there, writer, ANSWERS_MAX_BYTES)
            finally:
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
        finally:
            to.transport.abort()


async def _pass_body(source: asyncio.StreamReader, sink: asyncio.StreamWriter, length: int) -> None:
    """Of the one request: the next, with the word in its head, is not for the server."""
    while length > 0 and (piece := await source.read(min(length, PIECE_BYTES))):
        length -= len(piece)
        sink.write(piece)
        await sink.drain()


def _length(lines: list[str]) -> int | None:
    """Of the body; None when it has none that is certain."""
    heads = [line.partition(":") for line in lines]
    said = {value.strip() for name, _, value in heads if name.lower() == "content-length"}
    if len(said) > 1 or any(name.lower() == "transfer-encoding" for name, _, _ in heads):
        return None
    word = next(iter(said), "0")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 20 else None


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, most_bytes: float = math.inf) -> None:
    while piece := await source.read(PIECE_BYTES):
        most_bytes -= len(piece)
        if most_bytes < 0:
            sink.transport.abort()
            return
        sink.write(piece)
        await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if sink.can_write_eof():
            sink.write_eof()


def _place(method: str, target: str) -> tuple[str, int, str] | None:
    """(host, port, path); None for what this proxy does not do."""
    if method == "CONNECT":
        found = _AUTHORITY.fullmatch(target)
        return (found[1], int(found[2]), "") if found else None
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        return None
    if parts.scheme != "http" or not host or parts.username is not None:
        return None
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


async def _answer(writer: asyncio.StreamWriter, code: int, words: str) -> None:
    body = words.encode()
    lines = [
        f"HTTP/1.1 {code} Refused",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
