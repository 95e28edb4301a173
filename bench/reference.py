"""What every figure stands beside: the same work with nothing durable behind it.

`python -m bench.reference` is the bare aiohttp client loop; `create_app` is FastAPI with the same body model and no
database (`uvicorn --factory bench.reference:create_app`); `stock_broker` is taskiq-redis as it comes, with its own
receiver and a no-op (`taskiq worker bench.reference:stock_broker`), and tells a file when it ran first and last.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import aiohttp
import orjson
import uvloop
from fastapi import FastAPI
from taskiq_redis import RedisStreamBroker

from services.webhooks.accepting import GivenEvent
from shared.kernel.ids import new_id

STREAM, TOTAL, OUT, REDIS = "BENCH_STREAM", "BENCH_TOTAL", "BENCH_OUT", "BENCH_REDIS"


async def bare_client(url: str, body: bytes, total: int, connections: int) -> dict[str, float]:
    """POST `total` times over `connections` tasks, read each answer, keep nothing."""
    left = total
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        async def drive() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                async with session.post(url, data=body) as answer:
                    await answer.read()

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(drive() for _ in range(connections)))
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "rate": total / seconds, "cpu_us": (time.process_time() - cpu) * 1e6 / total}


def create_app() -> FastAPI:
    """The route of `POST /v1/webhooks/events` as FastAPI's tutorial would write it, without a database or a caller."""
    app = FastAPI()

    @app.post("/v1/webhooks/events", status_code=202)
    async def publish(body: GivenEvent) -> dict[str, object]:
        return {"id": new_id("evt"), "deliveries": 1 if body.type else 0}

    return app


class _Tally:
    """Counts runs; writes the file at the first (its times) and at the last (the whole)."""

    def __init__(self) -> None:
        self.total = int(os.environ.get(TOTAL, "0"))
        self.out = Path(os.environ.get(OUT, "/dev/null"))
        self.first = (0, 0.0)
        self.lates_ms: list[float] = []
        self.ran = 0

    def ran_once(self, intended_ns: int) -> None:
        now_ns = time.time_ns()
        if not self.ran:
            self.first = (now_ns, time.process_time())
            self._write({"first_ns": now_ns})
        self.ran += 1
        if intended_ns:
            self.lates_ms.append((now_ns - intended_ns) / 1e6)
        if self.ran == self.total:
            cpu_us = (time.process_time() - self.first[1]) * 1e6 / self.total
            self._write({"first_ns": self.first[0], "last_ns": now_ns, "cpu_us": cpu_us, "lates_ms": self.lates_ms})

    def _write(self, told: dict[str, object]) -> None:
        part = self.out.with_suffix(".part")
        part.write_bytes(orjson.dumps(told))
        part.replace(self.out)


def stock_broker() -> RedisStreamBroker:
    """Its defaults; the stream is the round's own."""
    broker = RedisStreamBroker(url=os.environ[REDIS], queue_name=os.environ[STREAM])
    tally = _Tally()

    @broker.task(task_name="noop")
    async def noop(intended_ns: int) -> None:
        tally.ran_once(intended_ns)

    return broker


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reference")
    parser.add_argument("--url", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--total", type=int, default=5_000)
    parser.add_argument("--connections", type=int, default=100)
    given = parser.parse_args()
    told = await bare_client(given.url, given.body.read_bytes(), given.total, given.connections)
    sys.stdout.write(orjson.dumps(told).decode() + "\n")


if __name__ == "__main__":
    uvloop.run(main())
