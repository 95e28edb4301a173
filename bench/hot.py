"""What the stores' own statements cost a job, a hundred jobs at a time: dispatch, claim, completion.

Dispatched by the real relay's passes, claimed and completed on one connection: nothing but the ledger is measured. The
same look at ledgers that differ in one thing (how much waits, how much has been) says what that thing costs.
"""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from bench.cpu import Meter
from bench.depth import QUEUE
from bench.figures import Figure, column
from bench.stage import Stage
from shared.kernel.ids import new_id
from shared.ledger import states
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import born, bury
from shared.ledger.store_record import record
from shared.runtime.resources import Resources
from shared.transport.names import stream
from shared.transport.relay import QueueRelay

BATCH = 100
BOUND = 1.2
_OURS = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'holdfast'")


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
    relay = await relay_of(resources)
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


async def relay_of(resources: Resources) -> QueueRelay:
    """A relay whose window is not what limits it."""
    relay = QueueRelay(QUEUE, resources.redis, resources.database.clock)
    relay.window.slots = 500
    await relay.stamp()
    return relay


def ratios(burdened: dict[str, Any], plain: dict[str, Any]) -> dict[str, float]:
    return {
        "hot_cpu": burdened["hot_cpu_us"] / plain["hot_cpu_us"],
        "hot_wall": burdened["hot_us"] / plain["hot_us"],
        "relay_wall": burdened["relay_us"] / plain["relay_us"],
    }


def ratio_figures(sides: str, rounds: Sequence[dict[str, Any]]) -> list[Figure]:
    """Of what `ratios` has put into each round; `sides`: which stands over which."""
    return [
        Figure(f"claim + complete, {sides}: backend CPU", column(rounds, "hot_cpu"), "times", "<=", BOUND),
        Figure(f"claim + complete, {sides}: wall", column(rounds, "hot_wall"), "times", "<=", BOUND),
        Figure(f"relay's dispatch, {sides}: wall", column(rounds, "relay_wall"), "times", "<="),
    ]
