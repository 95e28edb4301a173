"""What taking turns costs the relay, against among how many it does: the points of a curve.

100,000 jobs wait, dealt out to 1, 100, 1,000, 10,000, 50,000 tenants, or lanes of one tenant. The relay's own passes
start 10,000 of them as it finds them, `new`, and 10,000 more, `met`: by then it has met whoever is one of 10,000; of
50,000 the second ten thousand are others again.
"""

import time
from typing import Any

from bench.commits import settle
from bench.cpu import Meter
from bench.depth import HOUR_US, QUEUE, Bulk
from bench.figures import Figure, Outcome, Table, column, median_of
from bench.hot import BOUND, backends, relay_of
from bench.order import turns
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage
from shared.db.sql import Connection
from shared.runtime.resources import Resources
from shared.transport.names import stream
from shared.transport.relay import QueueRelay

WAITING = 100_000
COUNTS = (1, 100, 1_000, 10_000, 50_000)
KINDS = ("tenants", "lanes")
PHASES = ("new", "met")
FEW, MANY = "1000", ("10000", "50000")


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    if kind != "postgres":
        raise ValueError("rotation reads the CPU of backends: PostgreSQL only")
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        bulk = Bulk(room.url)
        for number in range(scale.rounds + 1):
            row: dict[str, Any] = {name: {} for name in KINDS}
            for name, count in turns([(name, count) for name in KINDS for count in COUNTS], number):
                step(f"{count:,} {name}: " + (f"round {number} of {scale.rounds}" if number else "warming up"))
                await bulk.clear()
                await bulk.add(WAITING, time.time_ns() // 1000 - HOUR_US, **{name: count})
                await settle(bulk.url)
                await resources.redis.flushall()
                row[name][str(count)] = await _measure(resources, scale.flat_jobs)
            if number:
                rounds.append(row | {"ratio": {name: _ratios(row[name]) for name in KINDS}})
    return Outcome(
        "rotation", kind, DURABILITY[kind], _figures(rounds), rounds, [], [_table(rounds, name) for name in KINDS]
    )


async def _measure(resources: Resources, count: int) -> dict[str, Any]:
    """By phase: microseconds a job, wall, and CPU of the relay and of its backends."""
    relay = await relay_of(resources)
    told: dict[str, Any] = {}
    async with resources.database.dedicated() as connection:
        await relay.reset(connection)
        for phase in PHASES:
            meter = Meter({"backends": await backends(resources)})
            began_s, cpu_s = time.perf_counter(), time.process_time()
            published = await _publish(resources, relay, connection, count)
            relay_us = (time.process_time() - cpu_s) * 1e6 / published
            wall_us = (time.perf_counter() - began_s) * 1e6 / published
            backends_us = meter.per_job_us(published)["backends"]
            told[phase] = {
                "wall_us": wall_us, "relay_us": relay_us, "backends_us": backends_us, "cpu_us": relay_us + backends_us,
            }  # fmt: skip
    return told


async def _publish(resources: Resources, relay: QueueRelay, connection: Connection, count: int) -> int:
    published = 0
    while published < count:
        done = await relay.run_once(connection)
        if not done.published and done.wait_s > 0:
            raise RuntimeError(f"the relay found {published} of {count} jobs")
        published += done.published
        await resources.redis.xtrim(stream(QUEUE), maxlen=0, approximate=False)
    return published


def _ratios(told: dict[str, Any]) -> dict[str, float]:
    """The CPU of a job among many ÷ among a thousand."""
    return {many: told[many]["new"]["cpu_us"] / told[FEW]["new"]["cpu_us"] for many in MANY}


def _figures(rounds: list[dict[str, Any]]) -> list[Figure]:
    return [
        Figure(
            f"relay, {int(many):,} {name} ÷ 1,000, not met before: CPU", column(rounds, "ratio", name, many),
            "times", "<=", BOUND,
        )
        for name in KINDS for many in MANY
    ]  # fmt: skip


def _table(rounds: list[dict[str, Any]], name: str) -> Table:
    parts = ("wall_us", "relay_us", "backends_us")
    rows: list[list[str | float | None]] = [
        [f"{count:,}", *(median_of(rounds, name, str(count), phase, part) for phase in PHASES for part in parts)]
        for count in COUNTS
    ]
    words = ("wall µs", "relay's CPU µs", "backend CPU µs")
    columns = [name, *(f"{phase}: {word}" for phase in PHASES for word in words)]
    return Table(f"Cost of a job against the number of {name} that take turns", columns, rows)
