"""Whether a job costs the relay the same however many tenants and lanes wait, and however many lanes stand still.

The relay's own passes over 100,000 waiting jobs: of one tenant; of 10,000 tenants; in 10,000 lanes; in 10,000 lanes of
which all but ten are paused. Wall time of a pass, and PostgreSQL's CPU, for each job that was published.
"""

import time
from contextlib import AsyncExitStack
from typing import Any

from bench.cpu import Meter
from bench.depth import Bulk
from bench.figures import Figure, Outcome, column
from bench.scale import Scale
from bench.scenarios import Step
from bench.scenarios.flat import HOUR_US, dispatch
from bench.stage import DURABILITY, Kind, Stage
from shared.runtime.resources import open_resources

MANY = 10_000
OPEN = 10
BOUND = 1.2
SIDES: dict[str, dict[str, int]] = {
    "one": {},
    "tenants": {"tenants": MANY},
    "lanes": {"lanes": MANY},
    "standing": {"lanes": MANY},
}


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        room = await stage.room(kind)
        stack.callback(room.leave)
        resources = await stack.enter_async_context(open_resources(room.settings))
        bulk = Bulk(room.url)
        for number in range(scale.rounds + 1):
            row: dict[str, Any] = {}
            for name in list(SIDES)[:: 1 if number % 2 else -1]:
                step(f"{name}: warming up" if number == 0 else f"{name}: round {number} of {scale.rounds}")
                await bulk.clear()
                await bulk.add(10 * MANY, time.time_ns() // 1000 - HOUR_US, **SIDES[name])
                if name == "standing":
                    await bulk.pause_lanes(OPEN, MANY - 1)
                await bulk.settle()
                await resources.redis.flushall()
                count = 10 * OPEN if name == "standing" else scale.flat_jobs
                meter = Meter({"servers": stage.server_pids})
                began = time.perf_counter()
                await dispatch(resources, count)
                wall_us = (time.perf_counter() - began) * 1e6 / count
                row[name] = {"wall_us": wall_us, "servers_us": meter.per_job_us(count)["servers"]}
            if number:
                ratios = {f"{name}_ratio": row[name]["wall_us"] / row["one"]["wall_us"] for name in SIDES}
                rounds.append({**row, **ratios})
    figures = [
        Figure("relay, a job of one tenant", column(rounds, "one", "wall_us"), "µs"),
        Figure("relay, 10,000 tenants ÷ one", column(rounds, "tenants_ratio"), "times", "<=", BOUND),
        Figure("relay, 10,000 lanes ÷ none", column(rounds, "lanes_ratio"), "times", "<="),
        Figure("relay, a job in ten open lanes beside 9,990 paused", column(rounds, "standing", "wall_us"), "µs"),
    ]
    return Outcome("spread", kind, DURABILITY[kind], figures, rounds)
