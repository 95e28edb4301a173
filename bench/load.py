"""HTTP load as cheap as Python allows, in a process of its own: `python -m bench.load closed|open …` prints JSON.

Requests are bytes made once; an answer is read up to its Content-Length. Closed: each of `c` connections asks again
when it has been answered. Open: a fixed schedule over `c` connections (`bench.pace`).
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop

from bench.pace import open_loop


class Pipe(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self) -> None:
        self._data = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: Any = None  # uvloop's own class

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0 or self._answer is None:
            return
        at = self._data[:head].lower().find(b"content-length:")
        length = int(self._data[at + 15 : self._data.find(b"\r\n", at)]) if at >= 0 else 0
        end = head + 4 + length
        if len(self._data) >= end:
            answer, whole = self._answer, self._data
            self._answer, self._data = None, b""
            answer.set_result((int(whole[9:12]), whole[head + 4 : end]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer


def request_of(url: str, body: bytes, headers: list[str]) -> bytes:
    parts = urlsplit(url)
    lines = [f"POST {parts.path or '/'} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "content-type: application/json", "", ""]).encode() + body


async def connect(url: str, count: int) -> list[Pipe]:
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    made = [await loop.create_connection(Pipe, host, port) for _ in range(count)]
    return [pipe for _, pipe in made]


async def closed(pipes: list[Pipe], request: bytes, total: int) -> dict[str, object]:
    left = total
    statuses: dict[int, int] = {}

    async def drive(pipe: Pipe) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            status, _ = await pipe.ask(request)
            statuses[status] = statuses.get(status, 0) + 1

    began_ns, began, cpu = time.time_ns(), time.perf_counter(), time.process_time()
    await asyncio.gather(*(drive(pipe) for pipe in pipes))
    seconds = time.perf_counter() - began
    cpu_us = (time.process_time() - cpu) * 1e6 / total
    return {
        "requests": total, "seconds": seconds, "rate": total / seconds, "cpu_us": cpu_us, "statuses": statuses,
        "began_ns": began_ns, "ended_ns": time.time_ns(),
    }  # fmt: skip


async def opened(
    pipes: list[Pipe], url: str, bodies: Sequence[bytes], headers: list[str], *, rate: float, seconds: float
) -> object:
    """[[id of the answer, intended ns, answered ns], …]; the id is the intended time where the answer has none."""
    free: asyncio.LifoQueue[Pipe] = asyncio.LifoQueue()
    for pipe in pipes:
        free.put_nowait(pipe)
    told: list[tuple[str, int, int]] = []
    in_turn = itertools.cycle(bodies)

    async def act(intended_ns: int) -> None:
        pipe = await free.get()
        try:
            status, answer = await pipe.ask(request_of(url, next(in_turn), [*headers, f"x-intended: {intended_ns}"]))
        finally:
            free.put_nowait(pipe)
        answered_ns = time.time_ns()
        if status >= 300:
            raise RuntimeError(f"answered {status}: {answer[:200]!r}")
        found = orjson.loads(answer).get("id") if answer.startswith(b"{") else None
        told.append((found or str(intended_ns), intended_ns, answered_ns))

    await open_loop(rate, seconds, act)
    return told


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    parser.add_argument("mode", choices=("closed", "open"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--body", type=Path, action="append", required=True, help="several are sent in turn")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--total", type=int, default=5_000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    bodies = [path.read_bytes() for path in given.body]
    pipes = await connect(given.url, given.connections)
    if given.mode == "closed":
        told: object = await closed(pipes, request_of(given.url, bodies[0], given.header), given.total)
    else:
        told = await opened(pipes, given.url, bodies, given.header, rate=given.rate, seconds=given.seconds)
    sys.stdout.write(orjson.dumps(told, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")


if __name__ == "__main__":
    uvloop.run(main())
