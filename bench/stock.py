"""One round of stock taskiq-redis: its broker, its receiver, its command line, a no-op. Nothing of it is durable
beyond Valkey's own log."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson

from bench.cpu import Meter
from bench.reference import OUT, REDIS, STREAM, TOTAL, stock_broker
from bench.stage import Stage, until
from holdfast.supervisor import Role
from shared.kernel.ids import new_id


async def drain(stage: Stage, count: int) -> dict[str, Any]:
    """Preloaded, then one worker process; from its first start to its last."""
    env, out = _round(stage, count)
    os.environ |= {name: env[name] for name in (REDIS, STREAM)}
    broker = stock_broker()
    task = broker.find_task("noop")
    assert task is not None
    await broker.startup()  # makes the group, at the stream's end: entries from before would never be delivered
    for _ in range(count // 100):
        await asyncio.gather(*(task.kiq(0) for _ in range(100)))
    await broker.shutdown()
    worker = _worker(stage, env)
    try:
        await until(lambda: _told(out), "stock taskiq begins", 30, 0.005)
        meter = Meter({"servers": stage.server_pids})
        told = await until(lambda: _told(out, "last_ns"), "stock taskiq ends", 60, 0.02)
    finally:
        stage.end(worker)
    seconds = (told["last_ns"] - told["first_ns"]) / 1e9
    cpu_us = {"worker": round(told["cpu_us"], 1), **meter.per_job_us(count)}
    return {"jobs": count, "seconds": seconds, "rate": count / seconds, "cpu_us": cpu_us}


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


def _worker(stage: Stage, env: dict[str, str]) -> Role:
    command = ("-m", "taskiq", "worker", "bench.reference:stock_broker", "--workers", "1", "--log-level", "WARNING")
    return stage.start(Role("stock", (sys.executable, *command), env, stage.folder / "stock.log"))


async def _told(out: Path, wanted: str = "first_ns") -> Any:
    told = _read(out)
    return told if wanted in told else None


def _read(out: Path) -> dict[str, Any]:
    return dict(orjson.loads(out.read_bytes())) if out.exists() else {}
