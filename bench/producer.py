"""Enqueues no-ops on a schedule, from a process of its own: `python -m bench.producer ours|flood|stock` prints JSON.

Ours is what an app does: open the resources, submit to the acceptor, durable when it returns. Stock is `kiq`.
"""

import argparse
import asyncio
import os
import sys
import time

import orjson
import uvloop

from bench.pace import open_loop
from bench.reference import REDIS, STREAM, stock_broker
from shared.kernel.settings import CoreSettings, load
from shared.ledger.store_accept import new_job
from shared.runtime.resources import open_resources
from shared.testing.lab import Noop
from shared.transport.enqueue import Accepted


async def ours(rate: float, seconds: float) -> dict[str, object]:
    """`jobs`: [[id, intended ns, durable ns], …]."""
    jobs: list[tuple[str, int, int]] = []
    async with open_resources(load(CoreSettings)) as resources:

        async def act(intended_ns: int) -> None:
            job = new_job(Noop(), tenant="bench", now_us=resources.database.clock.now_us())
            await resources.acceptor.submit(Accepted([job]))
            jobs.append((job.id, intended_ns, time.time_ns()))

        await act(time.time_ns())  # connected before the schedule starts
        jobs.clear()
        await asyncio.sleep(0.2)
        await open_loop(rate, seconds, act)
    return {"jobs": jobs}


async def flood(_rate: float, seconds: float) -> dict[str, object]:
    """As `ours`, by a hundred callers of whom each asks again when its job is durable."""
    jobs: list[tuple[str, int, int]] = []
    async with open_resources(load(CoreSettings)) as resources:
        until_s = time.monotonic() + seconds

        async def drive() -> None:
            while time.monotonic() < until_s:
                asked_ns = time.time_ns()
                job = new_job(Noop(), tenant="bench", now_us=resources.database.clock.now_us())
                await resources.acceptor.submit(Accepted([job]))
                jobs.append((job.id, asked_ns, time.time_ns()))

        await asyncio.gather(*(drive() for _ in range(100)))
    return {"jobs": jobs}


async def stock(rate: float, seconds: float) -> dict[str, object]:
    assert STREAM in os.environ
    assert REDIS in os.environ
    broker = stock_broker()
    task = broker.find_task("noop")
    assert task is not None
    await broker.startup()

    async def act(intended_ns: int) -> None:
        await task.kiq(intended_ns)

    await open_loop(rate, seconds, act)
    await broker.shutdown()
    return {}


SIDES = {"ours": ours, "flood": flood, "stock": stock}


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.producer")
    parser.add_argument("side", choices=tuple(SIDES))
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    told = await SIDES[given.side](given.rate, given.seconds)
    sys.stdout.write(orjson.dumps(told).decode() + "\n")


if __name__ == "__main__":
    uvloop.run(main())
