"""Whether a job costs the same however much has been: an empty ledger beside one with a history; what purging costs.

The history is what retention keeps: jobs of a day, attempts of a fortnight, scaled down by one factor. Each round
measures the stores' own statements on both sides (`bench.hot`), then lets two hours pass on the one with a history:
their jobs are added at its end, what has expired is purged by the real sweeps, and the tables are vacuumed, by which
they must not grow.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from bench.cpu import Meter
from bench.figures import Figure, Outcome, column
from bench.hot import backends, hot, ratio_figures, ratios
from bench.ours import Ours
from bench.past import DAY_US, HOUR_US, Past
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage
from services.api.settings import ApiSettings
from shared.db.engine import Database
from shared.db.sql import Connection
from shared.db.sweep import sweep_all
from shared.ledger.store_retention import ledger_sweeps
from shared.runtime.resources import Resources

KEEP_JOBS_US = DAY_US
KEEP_ATTEMPTS_US = 14 * DAY_US
PURGE_S = 120.0
SIDES = ("empty", "history")


class Side(Ours):
    """Ours, with rows as old as they say."""

    past: Past

    async def open(self) -> None:
        await super().open()
        self.past = Past(self.room.url)


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    if kind != "postgres":
        raise ValueError("history is measured where it is deep: PostgreSQL only")
    rounds: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        sides = {name: Side(stage) for name in SIDES}
        for side in sides.values():
            stack.push_async_callback(side.close)
            await side.open()
        old = sides["history"]
        now_us = old.resources.database.clock.now_us()
        step(f"making {scale.past_jobs:,} jobs and {scale.past_attempts:,} attempts")
        await _live(old.past, scale, now_us)
        fresh = (await old.past.sizes())["job_attempt_row_bytes"]
        for number in range(scale.rounds + 1):
            step("warming up" if number == 0 else f"round {number} of {scale.rounds}")
            row: dict[str, Any] = {}
            for name in SIDES[:: 1 if number % 2 else -1]:
                row[name] = await _measure(stage, sides[name], scale, empty=name == "empty")
            now_us += 2 * HOUR_US
            row["hours"] = await _two_hours(stage, old, scale, now_us)
            row["grown"] = row["hours"]["sizes"]["job_attempt_row_bytes"] / fresh
            if number:
                purging = row["hours"]["busy"]["hot_us"] / row["empty"]["hot_us"]
                rounds.append({**row, **ratios(row["history"], row["empty"]), "purging_wall": purging})
    figures = [
        *ratio_figures("history ÷ empty", rounds),
        Figure("claim + complete while it purges ÷ empty: wall", column(rounds, "purging_wall"), "times", "<="),
        Figure("purge: backend CPU of a row", column(rounds, "hours", "alone", "cpu_us"), "µs", "<="),
        Figure("purge: longest transaction", column(rounds, "hours", "beside", "longest_ms"), "ms", "<=", 1_000.0),
        Figure("vacuum after two hours' purge", column(rounds, "hours", "vacuum_s"), "s", "<="),
        Figure("bytes of an attempt with its index, ÷ before", column(rounds, "grown"), "times", "<=", 1.1),
    ]
    note = f"history: {scale.past_jobs:,} jobs of a day and {scale.past_attempts:,} attempts of 14 days"
    return Outcome("history", kind, DURABILITY[kind], figures, rounds, [note])


async def _live(past: Past, scale: Scale, now_us: int) -> None:
    """As it lies after weeks: the oldest first, and the hour that is about to expire."""
    older = scale.past_attempts - scale.past_jobs
    await past.attempts(older, now_us - KEEP_ATTEMPTS_US, now_us - KEEP_JOBS_US)
    await past.ended(scale.past_jobs, now_us - KEEP_JOBS_US, now_us)
    await past.vacuum()


async def _measure(stage: Stage, side: Side, scale: Scale, *, empty: bool) -> dict[str, Any]:
    """The empty side starts empty every time."""
    await stage.flush()
    if empty:
        await side.empty()
    await side.past.waiting(scale.flat_jobs, side.resources.database.clock.now_us())
    await side.past.analyze()
    before = await side.past.wal_bytes()
    told = await hot(stage, side.resources, scale.flat_jobs)
    return {**told, "wal_bytes": (await side.past.wal_bytes() - before) / scale.flat_jobs}


async def _two_hours(stage: Stage, side: Side, scale: Scale, now_us: int) -> dict[str, Any]:
    """Two hours' work comes and two hours' work goes: one alone, one while jobs are claimed and completed as ever."""
    database, an_hour = side.resources.database, scale.past_jobs // 24
    told: dict[str, Any] = {}
    for name, until_us in (("alone", now_us - HOUR_US), ("beside", now_us)):
        await side.past.ended(an_hour, until_us - HOUR_US, until_us)
        await side.past.attempts(an_hour, until_us - KEEP_ATTEMPTS_US - 2 * HOUR_US, until_us - KEEP_ATTEMPTS_US - 1)
        if name == "beside":
            await side.past.waiting(scale.flat_jobs, database.clock.now_us())
            await side.past.analyze()
            purging = asyncio.create_task(_purge(side.resources, until_us))
            told["busy"] = await hot(stage, side.resources, scale.flat_jobs)
            told["beside"] = await purging
        else:
            await side.past.analyze()
            told["alone"] = await _purge(side.resources, until_us)
    began = time.perf_counter()
    await side.past.vacuum()
    return {**told, "vacuum_s": time.perf_counter() - began, "sizes": await side.past.sizes()}


async def _purge(resources: Resources, now_us: int) -> dict[str, Any]:
    """The service's own sweeps, batch and pace."""
    settings = ApiSettings()
    sweeps = ledger_sweeps(
        now_us, keep_finished_s=settings.keep_finished_s, keep_attempts_s=settings.keep_attempts_s,
        keep_actions_s=settings.keep_actions_s,
    )  # fmt: skip
    timed = Timed(resources.database)
    meter = Meter({"backends": await backends(resources)})
    began = time.perf_counter()
    found = await sweep_all(cast("Database", timed), sweeps, batch=settings.purge_batch, budget_s=PURGE_S)
    rows = sum(found.rows.values())
    cpu_us = meter.per_job_us(rows)["backends"]
    seconds = time.perf_counter() - began
    return {"rows": found.rows, "cpu_us": cpu_us, "longest_ms": timed.longest_s * 1e3, "seconds": seconds}


class Timed:
    """A database whose transactions are timed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.longest_s = 0.0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        began = time.perf_counter()
        async with self._database.transaction() as connection:
            yield connection
        self.longest_s = max(self.longest_s, time.perf_counter() - began)
