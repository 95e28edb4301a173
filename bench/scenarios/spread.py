"""Whether a job costs the relay the same however many tenants and lanes wait, and however many lanes stand still.

The relay's own passes over 100,000 waiting jobs: of one tenant; of 10,000 tenants; in 10,000 lanes. Then the time that
a relay needs to be ready when 9,990 of 10,000 lanes are paused, and what jobs that arrive beside them cost it.
"""

import time
from typing import Any

from bench.commits import settle
from bench.depth import HOUR_US, QUEUE, Bulk
from bench.figures import Figure, Outcome, column
from bench.hot import BOUND, dispatch, relay_of
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage
from shared.db.sql import Connection
from shared.runtime.resources import Resources
from shared.transport.names import stream
from shared.transport.relay import QueueRelay

MANY = 10_000
OPEN = 10
SIDES: dict[str, dict[str, int]] = {"one": {}, "tenants": {"tenants": MANY}, "lanes": {"lanes": MANY}}


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        bulk = Bulk(room.url)
        for number in range(scale.rounds + 1):
            row: dict[str, Any] = {}
            for name in list(SIDES)[:: 1 if number % 2 else -1]:
                step(f"{name}: warming up" if number == 0 else f"{name}: round {number} of {scale.rounds}")
                await _fill(resources, bulk, **SIDES[name])
                began = time.perf_counter()
                await dispatch(resources, scale.flat_jobs)
                row[name] = (time.perf_counter() - began) * 1e6 / scale.flat_jobs
            row |= await _beside_standing(resources, bulk, step)
            if number:
                rounds.append({**row, **{f"{name}_ratio": row[name] / row["one"] for name in (*SIDES, "beside")}})
    figures = [
        Figure("relay, a job of one tenant", column(rounds, "one"), "µs"),
        Figure("relay, 10,000 tenants ÷ one", column(rounds, "tenants_ratio"), "times", "<=", BOUND),
        Figure("relay, 10,000 lanes ÷ one tenant", column(rounds, "lanes_ratio"), "times", "<="),
        Figure("relay, beside 9,990 paused lanes ÷ one tenant", column(rounds, "beside_ratio"), "times", "<=", BOUND),
        Figure("relay, ready beside 9,990 paused lanes", column(rounds, "ready_ms"), "ms"),
    ]
    return Outcome("spread", kind, DURABILITY[kind], figures, rounds)


async def _fill(resources: Resources, bulk: Bulk, **shape: int) -> None:
    await bulk.clear()
    await bulk.add(10 * MANY, time.time_ns() // 1000 - HOUR_US, **shape)
    await settle(bulk.url)
    await resources.redis.flushall()


async def _beside_standing(resources: Resources, bulk: Bulk, step: Step) -> dict[str, float]:
    step("beside 9,990 paused lanes")
    await _fill(resources, bulk, lanes=MANY)
    await bulk.pause_lanes(OPEN, MANY - 1)
    relay = await relay_of(resources)
    async with resources.database.dedicated() as connection:
        began = time.perf_counter()
        await relay.reset(connection)
        await _until_still(resources, relay, connection)
        ready_s = time.perf_counter() - began
        await bulk.add(MANY, time.time_ns() // 1000 - 1_000, lanes=OPEN)
        began = time.perf_counter()
        published = await _until_still(resources, relay, connection)
        return {"ready_ms": ready_s * 1e3, "beside": (time.perf_counter() - began) * 1e6 / published}


async def _until_still(resources: Resources, relay: QueueRelay, connection: Connection) -> int:
    published = 0
    while True:
        done = await relay.run_once(connection)
        published += done.published
        await resources.redis.xtrim(stream(QUEUE), maxlen=0, approximate=False)
        if not done.published and done.wait_s > 0 and not done.full:
            return published
