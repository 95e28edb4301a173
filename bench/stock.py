"""One round of stock taskiq-redis: its broker, its receiver, its command line, a no-op. Nothing of it is durable
beyond Valkey's own log."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.contestant import Contestant, Drain
from bench.cpu import Meter
from bench.reference import OUT, REDIS, STREAM, TOTAL, stock_broker
from bench.stage import Stage, until
from holdfast.supervisor import Role
from shared.kernel.ids import new_id


class Stock(Contestant):
    """`tuned`: twice as many at once, and as many prefetched."""

    durability = "Valkey AOF everysec; to the last run"

    def __init__(self, stage: Stage, *, tuned: bool = False) -> None:
        super().__init__(stage)
        self.name = "taskiq-redis, tuned" if tuned else "taskiq-redis"
        self._options = ("--max-async-tasks", "200", "--max-prefetch", "200") if tuned else ()
        self._preloaded = 0
        self._env: dict[str, str] = {}
        self._out = Path()

    async def open(self) -> None:
        """Every round has a stream of its own."""

    async def empty(self) -> None:
        await self.stage.flush()

    async def enqueue(self, one: int, bulk: int) -> dict[str, float | None]:
        """Bulk: a hundred calls at once, for it has no call of many."""
        self._env, self._out = _round(self.stage, one + bulk)
        os.environ |= {name: self._env[name] for name in (REDIS, STREAM)}
        broker = stock_broker()
        task = broker.find_task("noop")
        assert task is not None
        await broker.startup()  # makes the group, at the stream's end: entries from before would never be delivered
        began = time.perf_counter()
        for _ in range(one):
            await task.kiq(0)
        between = time.perf_counter()
        for _ in range(bulk // 100):
            await asyncio.gather(*(task.kiq(0) for _ in range(100)))
        ended = time.perf_counter()
        await broker.shutdown()
        return {"one": one / (between - began), "bulk": bulk / (ended - between)}

    async def drain(self, many: int, limit_s: float) -> Drain:
        """Of all that was enqueued; from its first start to its last."""
        worker = _worker(self.stage, self._env, self._options)
        try:
            await until(lambda: _told(self._out), "stock taskiq begins", 30, 0.005)
            pids = [worker.process.pid] if worker.process else []
            meter = Meter({"worker": pids, "servers": self.stage.server_pids})
            told = await until(lambda: _told(self._out, "last_ns"), "stock taskiq ends", limit_s, 0.02)
            cpu_us = meter.per_job_us(many)
        finally:
            self.stage.end(worker)
        return Drain(many, many, (told["last_ns"] - told["first_ns"]) / 1e9, cpu_us)


async def drain(stage: Stage, count: int) -> dict[str, Any]:
    """Preloaded, then one worker process; from its first start to its last."""
    side = Stock(stage)
    await side.enqueue(0, count)
    return (await side.drain(count, 60)).document()


async def starts_ms(stage: Stage, rate: float, seconds: float) -> list[float]:
    """From the intended enqueue to the start, in an open loop."""
    count = int(rate * seconds)
    env, out = _round(stage, count)
    worker = _worker(stage, env)
    try:
        await asyncio.sleep(3.0)  # nothing tells from outside that a stock worker listens
        await stage.tool("bench.producer", "stock", "--rate", str(rate), "--seconds", str(seconds), env=env)
        told = await until(lambda: _told(out, "last_ns"), "stock taskiq ends", 30)
    finally:
        stage.end(worker)
    lates_ms: list[float] = told["lates_ms"]
    return lates_ms


def _round(stage: Stage, count: int) -> tuple[dict[str, str], Path]:
    out = stage.folder / f"{new_id('stock')}.json"
    stream = f"bench:{out.stem}"
    return {**stage.base_env(), REDIS: stage.valkey.url, STREAM: stream, TOTAL: str(count), OUT: str(out)}, out


def _worker(stage: Stage, env: dict[str, str], options: Sequence[str] = ()) -> Role:
    fixed = ("-m", "taskiq", "worker", "bench.reference:stock_broker", "--workers", "1", "--log-level", "WARNING")
    command = (*fixed, *options)
    return stage.start(Role("stock", (sys.executable, *command), env, stage.folder / "stock.log"))


async def _told(out: Path, wanted: str = "first_ns") -> Any:
    told = _read(out)
    return told if wanted in told else None


def _read(out: Path) -> dict[str, Any]:
    return dict(orjson.loads(out.read_bytes())) if out.exists() else {}
