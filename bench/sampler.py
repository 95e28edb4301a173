"""A worker that says where its processor time goes: `taskiq worker bench.sampler:create_broker`, with
HOLDFAST_BENCH_SAMPLES naming the file.

The kernel's profiling timer counts the time that this process runs, not what passes while it waits; whenever it fires
(every four milliseconds where the kernel ticks 250 times a second), the innermost Python frame that stands in a room
counts for it. What C code and the standard library do counts for their caller. The file holds {room: samples}, written
whole and anew.
"""

import os
import re
import signal
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

import orjson

from shared.transport.broker import HoldfastBroker

FILE: Final = "HOLDFAST_BENCH_SAMPLES"
EVERY_S: Final = 0.001  # or as often as the kernel can
KEPT_EVERY: Final = 20
_PLACE: Final = re.compile(r".*(?:^|/)(?:site-packages|lib/python3\.\d+)/([^/.]+)")
_OURS: Final = re.compile(r"(?:^|/)(services/webhooks|shared/(?:transport|ledger|db|runtime|kernel|contracts))/")
_ROOMS: Final = {
    "services/webhooks": "the delivery: services/webhooks",
    "shared/transport": "the engine: shared/transport",
    "shared/ledger": "the ledger: shared/ledger, shared/db",
    "shared/db": "the ledger: shared/ledger, shared/db",
    "aiohttp": "HTTP: aiohttp",
    "multidict": "HTTP: aiohttp",
    "yarl": "HTTP: aiohttp",
    "asyncpg": "drivers: asyncpg, redis",
    "redis": "drivers: asyncpg, redis",
    "taskiq": "tasks and the loop: taskiq, asyncio, uvloop",
    "taskiq_fastapi": "tasks and the loop: taskiq, asyncio, uvloop",
    "asyncio": "tasks and the loop: taskiq, asyncio, uvloop",
    "uvloop": "tasks and the loop: taskiq, asyncio, uvloop",
    "prometheus_client": "metrics: prometheus_client",
    "pydantic": "arguments: pydantic",
}
REST: Final = "everything else"
ROOMS: Final = (*dict.fromkeys(_ROOMS.values()), REST)


def room_of(file: str) -> str:
    """The room of a source file, by its path."""
    found = _PLACE.match(file) or _OURS.search(file)
    return _ROOMS.get(found[1], REST) if found else REST


class Sampler:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Counter[str] = Counter()
        self._rooms: dict[str, str] = {}

    def start(self) -> None:
        """In the main thread, which is the one that is looked at."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def _look(self, _: int, frame: FrameType | None) -> None:
        room = REST
        while frame is not None and room == REST:
            room = self._room(frame.f_code.co_filename)
            frame = frame.f_back
        self._seen[room] += 1
        if self._seen.total() % KEPT_EVERY == 0:
            part = self._path.with_suffix(".part")
            part.write_bytes(orjson.dumps(dict(self._seen)))
            part.replace(self._path)

    def _room(self, file: str) -> str:
        room = self._rooms.get(file)
        if room is None:
            room = self._rooms[file] = room_of(file)
        return room


def create_broker() -> HoldfastBroker:
    from services.webhooks.worker import create_broker as webhooks  # noqa: PLC0415 - tests name rooms without it

    Sampler(Path(os.environ[FILE])).start()
    return webhooks()
