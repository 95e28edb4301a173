"""What every adapter shares, on the standard library alone: its environment, the count of runs, the timing of sends.

The tally writes a file at the first run and at the last: a worker cannot be asked from outside, but it can be watched.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

POSTGRES = os.environ.get("BENCH_PG", "")
REDIS = os.environ.get("BENCH_REDIS", "")
TUNED = os.environ.get("BENCH_TUNED") == "1"
BULK = 500  # jobs in one call, where there is one


class Tally:
    def __init__(self) -> None:
        self._total = int(os.environ.get("BENCH_TOTAL", "0"))
        self._out = Path(os.environ.get("BENCH_OUT", "/dev/null"))
        self._lock = threading.Lock()
        self._first_ns = 0
        self._ran = 0

    def ran(self) -> None:
        """One more; from any thread."""
        with self._lock:
            self._ran += 1
            if self._ran == 1:
                self._first_ns = time.time_ns()
                self._write({"first_ns": self._first_ns})
            if self._ran == self._total:
                self._write({"first_ns": self._first_ns, "last_ns": time.time_ns()})

    def _write(self, told: dict[str, int]) -> None:
        part = self._out.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.replace(self._out)


def arguments() -> tuple[str, int]:
    """What to do, and how often."""
    return sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0


def timed(send: Callable[[], object]) -> None:
    """Call `send` as often as the arguments say, print what all but the first, by which it connects, took."""
    _, count = arguments()
    send()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(count - 1):
        send()
    _told(count - 1, began, cpu)


async def timed_async(calls: int, send: Callable[[], Awaitable[object]], *, jobs: int = 1) -> None:
    """The same of coroutines, one after the other, each of `jobs` jobs, on a connection that is there."""
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        await send()
    _told(calls * jobs, began, cpu)


def run(main: Awaitable[None]) -> None:
    """On uvloop where it is tuned, as its users would."""

    async def started() -> None:
        await main

    if TUNED:
        import uvloop  # noqa: PLC0415 - not every peer has it

        uvloop.run(started())
    else:
        asyncio.run(started())


def _told(count: int, began: float, cpu: float) -> None:
    seconds = time.perf_counter() - began
    cpu_us = (time.process_time() - cpu) * 1e6 / max(count, 1)
    print(json.dumps({"jobs": count, "rate": count / seconds, "cpu_us": cpu_us}), flush=True)
