"""Whether a job costs the same however many wait: an empty ledger beside a deep one with an open snapshot.

Two ways: the stores' own statements, a hundred jobs at a time, dispatched by the real relay's pass and then claimed
and completed on a connection; and the real roles, draining. Redis must stay small, for it holds only the window.
"""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from bench import backlog
from bench.cpu import Meter
from bench.depth import HOUR_US, QUEUE, Bulk
from bench.figures import Figure, Outcome, column
from bench.scale import Scale
from bench.scenarios import Step, drain
from bench.stage import DURABILITY, Kind, Room, Stage, until
from shared.kernel.ids import new_id
from shared.ledger import states
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import born, bury
from shared.ledger.store_record import record
from shared.runtime.resources import Resources, open_resources
from shared.transport.names import stream
from shared.transport.relay import QueueRelay

BATCH = 100
_OURS = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'holdfast'")
_ATTEMPTS = text("SELECT finished_at FROM job_attempt WHERE started_at >= :since ORDER BY finished_at LIMIT :many")


@dataclass
class Side:
    name: str
    room: Room
    resources: Resources
    bulk: Bulk


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    if kind != "postgres":
        raise ValueError("flat needs an open snapshot: PostgreSQL only")
    rounds: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        sides = [await _side(stage, stack, name) for name in ("empty", "deep")]
        step(f"making {scale.waiting:,} waiting and {scale.dead_rows:,} dead")
        await _deepen(sides[1].bulk, scale)
        for number in range(scale.rounds + 1):
            step("warming up" if number == 0 else f"round {number} of {scale.rounds}")
            row = {side.name: await _measure(stage, side, scale) for side in sides[:: 1 if number % 2 else -1]}
            if number:
                rounds.append({**row, **_ratios(row)})
    depth = f"{scale.waiting:,} waiting and {scale.dead_rows:,} dead rows under an open snapshot"
    figures = [
        Figure("claim + complete, deep ÷ empty: backend CPU", column(rounds, "hot_cpu"), "times", "<=", 1.2),
        Figure("claim + complete, deep ÷ empty: wall", column(rounds, "hot_wall"), "times", "<=", 1.2),
        Figure("relay's dispatch, deep ÷ empty: wall", column(rounds, "relay_wall"), "times", "<="),
        Figure("no-op drain, deep ÷ empty", column(rounds, "drain"), bound=0.8),
        Figure("no-op drain, deep", column(rounds, "deep", "drain", "rate"), "/s"),
        Figure("claim + complete, empty: backend CPU", column(rounds, "empty", "hot_cpu_us"), "µs"),
        Figure("claim + complete, deep: backend CPU", column(rounds, "deep", "hot_cpu_us"), "µs"),
        Figure("Valkey's memory, deep, draining", column(rounds, "deep", "drain", "redis_mib"), "MiB", "<=", 10.0),
    ]
    return Outcome("flat", kind, DURABILITY[kind], figures, rounds, [f"deep: {depth}"])


async def _side(stage: Stage, stack: AsyncExitStack, name: str) -> Side:
    room = await stage.room("postgres")
    stack.callback(room.leave)
    resources = await stack.enter_async_context(open_resources(room.settings))
    bulk = Bulk(room.url)
    stack.push_async_callback(bulk.release)
    return Side(name, room, resources, bulk)


async def _deepen(bulk: Bulk, scale: Scale) -> None:
    now_us = time.time_ns() // 1000
    await bulk.bury(scale.dead_rows, now_us - 2 * HOUR_US)
    await bulk.add(scale.waiting, now_us - HOUR_US)
    await bulk.settle()


async def _measure(stage: Stage, side: Side, scale: Scale) -> dict[str, Any]:
    """The empty side starts empty every time; the deep one only loses what it works off."""
    await side.resources.redis.flushall()
    if side.name == "empty":
        await side.bulk.clear()
        await side.bulk.add(scale.flat_jobs, time.time_ns() // 1000 - HOUR_US)
    await side.bulk.settle()
    told = await hot(stage, side.resources, scale.flat_jobs)
    await side.resources.redis.flushall()
    if side.name == "empty":
        await side.bulk.clear()
        await side.bulk.add(scale.flat_jobs, time.time_ns() // 1000 - HOUR_US)
    return {**told, "drain": await _drain(side, scale.flat_jobs)}


async def hot(stage: Stage, resources: Resources, count: int) -> dict[str, Any]:
    """Microseconds a job: the relay's passes, then claims and completions, wall and PostgreSQL's and Valkey's CPU."""
    database, incarnation = resources.database, new_id("inc")
    now_us = database.clock.now_us()
    await born(database, incarnation, queue=QUEUE, role="bench", host="bench", pid=0, capacity=0, now_us=now_us)
    began = time.perf_counter()
    ids = await dispatch(resources, count)
    relay_us = (time.perf_counter() - began) * 1e6 / count
    meter = Meter({"servers": stage.server_pids, "backends": await backends(resources)})
    claim_s = record_s = 0.0
    for at in range(0, count, BATCH):
        start = time.perf_counter()
        claims = await claim(database, ids[at : at + BATCH], incarnation, database.clock.now_us())
        between = time.perf_counter()
        ended_us = database.clock.now_us()
        done = [states.completed(held, ended_us, started_at=ended_us, result=None, detail=None) for held in claims]
        verdicts = await record(database, done, sqlite=False)
        record_s += time.perf_counter() - between
        claim_s += between - start
        if verdicts != ["recorded"] * BATCH:
            raise RuntimeError(f"{len(claims)} claimed, {verdicts.count('recorded')} recorded of {BATCH}")
    cpu_us = meter.per_job_us(count)
    await bury(database, incarnation, "ended", database.clock.now_us())
    walls = {"claim_us": claim_s * 1e6 / count, "record_us": record_s * 1e6 / count, "relay_us": relay_us}
    return {
        **walls,
        "hot_us": walls["claim_us"] + walls["record_us"],
        "hot_cpu_us": cpu_us["backends"],
        "hot_servers_cpu_us": cpu_us["servers"],
    }


async def backends(resources: Resources) -> list[int]:
    """Ours: autovacuum, which has much to do on a deep table, is no part of a job's cost, and is in `servers`."""
    async with resources.database.reader.connect() as connection:
        return list((await connection.execute(_OURS)).scalars().all())


async def dispatch(resources: Resources, count: int) -> list[str]:
    """By the relay's own pass; the stream is emptied behind it, as workers would."""
    relay = QueueRelay(QUEUE, resources.redis, resources.database.clock)
    relay.window.slots = 500
    await relay.stamp()
    ids: list[str] = []
    async with resources.database.dedicated() as connection:
        await relay.reset(connection)
        while len(ids) < count:
            done = await relay.run_once(connection)
            if not done.published:
                if done.wait_s > 0:
                    raise RuntimeError(f"the relay found {len(ids)} of {count} jobs")
                continue
            entries: Any = await resources.redis.xrange(stream(QUEUE))
            ids += [fields[b"j"].decode() for _, fields in entries]
            await resources.redis.xtrim(stream(QUEUE), maxlen=0, approximate=False)
    return ids[:count]


async def _drain(side: Side, count: int) -> dict[str, Any]:
    """The real roles from a cold start, between the first end of a handler and the `count`-th, by their own clock."""
    room, database = side.room, side.resources.database
    since_us, most_bytes = database.clock.now_us(), 0
    room.relay(QUEUE)
    room.worker(drain.BROKER, drain.SLOTS)

    async def ended() -> Sequence[int] | None:
        nonlocal most_bytes
        most_bytes = max(most_bytes, (await side.resources.redis.info("memory"))["used_memory"])
        async with database.reader.connect() as connection:
            found = (await connection.execute(_ATTEMPTS, {"since": since_us, "many": count})).scalars().all()
        return found if len(found) >= count else None

    try:
        await backlog.worker_ready(database)
        finished = await until(ended, f"{count} jobs ended", backlog.LIMIT_S, 0.1)
    finally:
        room.leave()
    seconds = (finished[-1] - finished[0]) / 1e6
    return {"rate": count / seconds, "seconds": seconds, "redis_mib": most_bytes / 2**20}


def _ratios(row: dict[str, Any]) -> dict[str, float]:
    deep, empty = row["deep"], row["empty"]
    return {
        "hot_cpu": deep["hot_cpu_us"] / empty["hot_cpu_us"],
        "hot_wall": deep["hot_us"] / empty["hot_us"],
        "relay_wall": deep["relay_us"] / empty["relay_us"],
        "drain": deep["drain"]["rate"] / empty["drain"]["rate"],
    }
