"""Whether a job costs the same however many wait: an empty ledger beside a deep one with an open snapshot.

Two ways: the stores' own statements (`bench.hot`), and the real roles, draining from a cold start. Redis must stay
small, for it holds only the window.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from bench import backlog
from bench.commits import settle
from bench.figures import Figure, Outcome, column
from bench.hot import hot, ratio_figures, ratios
from bench.ours import Ours
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage

SIDES = ("empty", "deep")
LOOK_S = 0.1


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    if kind != "postgres":
        raise ValueError("flat needs an open snapshot: PostgreSQL only")
    rounds: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        sides = {name: Ours(stage) for name in SIDES}
        for side in sides.values():
            stack.push_async_callback(side.close)
            await side.open()
        step(f"making {scale.waiting:,} waiting and {scale.dead_rows:,} dead")
        await sides["deep"].bury(scale.dead_rows)
        await sides["deep"].fill(scale.waiting)
        for number in range(scale.rounds + 1):
            step("warming up" if number == 0 else f"round {number} of {scale.rounds}")
            row: dict[str, Any] = {}
            for name in SIDES[:: 1 if number % 2 else -1]:
                row[name] = await _measure(stage, sides[name], scale, empty=name == "empty")
            if number:
                drain = row["deep"]["drain"]["rate"] / row["empty"]["drain"]["rate"]
                rounds.append({**row, **ratios(row["deep"], row["empty"]), "drain": drain})
    depth = f"{scale.waiting:,} waiting and {scale.dead_rows:,} dead rows under an open snapshot"
    figures = [
        *ratio_figures("deep ÷ empty", rounds),
        Figure("no-op drain, deep ÷ empty", column(rounds, "drain"), bound=0.8),
        Figure("no-op drain, deep", column(rounds, "deep", "drain", "rate"), "/s"),
        Figure("claim + complete, empty: backend CPU", column(rounds, "empty", "hot_cpu_us"), "µs"),
        Figure("claim + complete, deep: backend CPU", column(rounds, "deep", "hot_cpu_us"), "µs"),
        Figure("Valkey's memory, deep, draining", column(rounds, "deep", "drain", "redis_mib"), "MiB", "<=", 10.0),
    ]
    return Outcome("flat", kind, DURABILITY[kind], figures, rounds, [f"deep: {depth}"])


async def _measure(stage: Stage, side: Ours, scale: Scale, *, empty: bool) -> dict[str, Any]:
    """The empty side starts empty every time; the deep one only loses what it works off."""
    count = scale.flat_jobs
    for drains in (False, True):
        await stage.flush()
        if empty:
            await side.empty()
            await side.fill(count)
        if not drains:
            await settle(side.room.url)
            told = await hot(stage, side.resources, count)
    return {**told, "drain": await _drain(side, count)}


async def _drain(side: Ours, count: int) -> dict[str, Any]:
    watch = asyncio.create_task(_watch(side))
    try:
        drained = (await side.drain(count, backlog.LIMIT_S)).document()
    finally:
        watch.cancel()
        (most_bytes,) = await asyncio.gather(watch)
    return {**drained, "redis_mib": most_bytes / 2**20}


async def _watch(side: Ours) -> int:
    """The most that Valkey held until this was cancelled, in bytes."""
    most = 0
    try:
        while True:
            most = max(most, (await side.resources.redis.info("memory"))["used_memory"])
            await asyncio.sleep(LOOK_S)
    except asyncio.CancelledError:
        return most
