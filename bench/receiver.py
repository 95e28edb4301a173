"""A receiver that is not the bottleneck: `python -m bench.receiver` answers 200 to every POST, with keep-alive.

A bare protocol on uvloop that looks at no more of a request than it must. Prints its port as its first line. GET
`/count` says how many POSTs came since the last `/reset`; POSTs to `/timed` are noted with their `webhook-id` (or
`x-intended`) and when they came, in nanoseconds of the wall clock, which GET `/arrivals` hands over. POSTs to `/hang`
are never answered.
"""

import asyncio
import signal
import time
from typing import Any

import orjson
import uvloop

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nok"
_IDS = (b"webhook-id:", b"x-intended:")


class Book:
    def __init__(self) -> None:
        self.count = 0
        self.arrivals: list[tuple[str, int]] = []

    def answer(self, path: bytes) -> bytes:
        if path == b"/count":
            body = orjson.dumps({"count": self.count})
        elif path == b"/arrivals":
            body = orjson.dumps(self.arrivals)
        else:
            self.count, self.arrivals, body = 0, [], b"{}"
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Receiver(asyncio.Protocol):
    def __init__(self, book: Book) -> None:
        self._book = book
        self._left = b""
        self._transport: Any = None  # uvloop's own class

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._left + data if self._left else data
        while (head := data.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + _length(data, head)
            if len(data) < end:
                break
            self._handle(data[:head])
            data = data[end:]
        self._left = data

    def _handle(self, head: bytes) -> None:
        if head.startswith(b"GET "):
            self._transport.write(self._book.answer(head.split(b" ", 2)[1]))
            return
        self._book.count += 1
        if head.startswith(b"POST /timed"):
            self._book.arrivals.append((_id(head), time.time_ns()))
        if head.startswith(b"POST /hang"):
            return
        self._transport.write(_OK)


def _length(data: bytes, head: int) -> int:
    """Of the body; every sender of the harness says it, in one spelling or the other."""
    at = data.find(b"ontent-", 0, head)
    while at >= 0:
        if data[at + 7 : at + 14].lower() == b"length:":
            return int(data[at + 14 : data.find(b"\r\n", at, head + 2)])
        at = data.find(b"ontent-", at + 7, head)
    return 0


def _id(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line.startswith(_IDS):
            return line.partition(b":")[2].strip().decode()
    return ""


async def serve() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    book = Book()
    server = await loop.create_server(lambda: Receiver(book), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
