"""An HTTP proxy that the operator names: what is said about it, and how a tunnel through it begins.

The invariant: `CONNECT` names an address that was vetted here, never a name. Refuses a proxy that speaks before it is
spoken to, and one whose head has no end.
"""

import asyncio
import re
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

from shared.kernel.errors import Misconfigured

HEAD_MAX_BYTES: Final = 16_384
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r?$)", re.MULTILINE)


class ProxyFailed(ConnectionError):
    """The proxy cannot be reached, or does not connect us."""


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """An HTTP proxy. `authorization` is the value of `Proxy-Authorization`, if it asks for one."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, url: str) -> "ProxyAddress":
        """`http://[user:password@]host[:port]`. Raises Misconfigured, without the password."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 3128
        except ValueError:
            parts, host, port = urlsplit(""), None, 0
        if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise Misconfigured("the egress proxy must be http://[user:password@]host[:port]")
        if parts.username is None:
            return cls(host, port)
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(host, port, "Basic " + b64encode(pair.encode()).decode())


async def tunnel(sock: socket.socket, proxy: ProxyAddress, address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    named = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = [f"CONNECT {named} HTTP/1.1", f"Host: {named}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    request = "\r\n".join([*lines, "", ""]).encode("latin-1")
    try:
        await loop.sock_sendall(sock, request)
        head = await _head(sock, loop)
    except OSError as error:
        if isinstance(error, ProxyFailed):
            raise
        raise ProxyFailed(f"the connection to the proxy ended: {error.strerror or type(error).__name__}") from error
    _judge(head, named)


async def _head(sock: socket.socket, loop: asyncio.AbstractEventLoop) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await loop.sock_recv(sock, 4096)
        if not piece:
            raise ProxyFailed("the proxy closed the connection instead of answering")
        head += piece
        if len(head) > HEAD_MAX_BYTES:
            raise ProxyFailed("the head of the proxy's answer has no end")
    return head


def _judge(head: bytes, named: str) -> None:
    status = _STATUS.match(head)
    if status is None:
        raise ProxyFailed("what the proxy answered is not HTTP")
    code = int(status[1])
    if 200 <= code < 300:
        if not head.endswith(b"\r\n\r\n") or head.count(b"\r\n\r\n") > 1:
            raise ProxyFailed("the proxy sent bytes of its own into the tunnel")
        return
    try:
        phrase = f" {HTTPStatus(code).phrase}"
    except ValueError:
        phrase = ""
    raise ProxyFailed(f"the proxy refused CONNECT {named}: {code}{phrase}")
