"""What a system costs that has nothing to do: CPU, Valkey commands and PostgreSQL transactions a second, by role.

Servers alone first, which is the reference; then with the relay, with a worker, with an HTTP app, each beside all those
before it, so that a role's commands and transactions are what it added.
"""

import asyncio
import time
from typing import Any

from sqlalchemy import text

from bench.cpu import Meter
from bench.figures import Figure, Outcome, Table, column, median_of
from bench.scale import Scale
from bench.scenarios import Step, deliveries
from bench.stage import DURABILITY, Kind, Room, Stage
from shared.runtime.resources import Resources

ROLES = ("servers", "relay", "worker", "app")
SETTLE_S = 2.0
_TRANSACTIONS = text("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        for number in range(scale.rounds):
            row: dict[str, Any] = {}
            try:
                for role in ROLES:
                    step(f"{role}, round {number + 1} of {scale.rounds}")
                    await _start(room, role)
                    await asyncio.sleep(SETTLE_S)
                    row[role] = await _watch(room, resources, scale.idle_s)
            finally:
                room.leave()
            rounds.append({**row, "added": _added(row)})
    figures = [
        Figure("idle: CPU of relay, worker and app", [_percent(row) for row in rounds], "% of a core", "<="),
        *(
            Figure(f"idle: CPU of the {role}", column(rounds, "app", "cpu", role), "% of a core", "<=")
            for role in ROLES
        ),
        Figure("idle: Valkey commands", column(rounds, "app", "commands"), "/s", "<="),
        Figure("idle: PostgreSQL transactions", column(rounds, "app", "transactions"), "/s", "<="),
    ]
    rows: list[list[str | float | None]] = [
        [
            role,
            median_of(rounds, "app", "cpu", role),
            median_of(rounds, "added", role, "commands"),
            median_of(rounds, "added", role, "transactions"),
        ]
        for role in ROLES
    ]
    columns = ["role", "CPU, % of a core", "Valkey commands /s", "PostgreSQL transactions /s"]
    return Outcome("idle", kind, DURABILITY[kind], figures, rounds, [], [Table("An idle system", columns, rows)])


async def _start(room: Room, role: str) -> None:
    if role == "relay":
        room.relay("webhooks")
    elif role == "worker":
        room.worker("services.webhooks.worker:create_broker", deliveries.SLOTS)
    elif role == "app":
        await room.http("services.webhooks.app:create_app", "app")


async def _watch(room: Room, resources: Resources, seconds: float) -> dict[str, Any]:
    meter, before, began = Meter(room.groups()), await _counts(resources), time.monotonic()
    await asyncio.sleep(seconds)
    spent, after, seconds = meter.total_us(), await _counts(resources), time.monotonic() - began
    told = {name: round((after[name] - before[name]) / seconds, 3) for name in before}
    return {"cpu": {name: round(us / seconds / 1e4, 3) for name, us in spent.items()}, **told}


async def _counts(resources: Resources) -> dict[str, int]:
    """This look itself is one command and two transactions."""
    stats = await resources.redis.info("commandstats")
    async with resources.database.reader.connect() as connection:
        transactions = (await connection.execute(_TRANSACTIONS)).scalar_one()
    return {"commands": sum(told["calls"] for told in stats.values()), "transactions": int(transactions)}


def _added(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    added: dict[str, dict[str, float]] = {}
    before = {"commands": 0.0, "transactions": 0.0}
    for role in ROLES:
        now = {name: float(row[role][name]) for name in before}
        added[role] = {name: max(0.0, now[name] - before[name]) for name in before}
        before = now
    return added


def _percent(row: dict[str, Any]) -> float:
    return round(float(sum(row["app"]["cpu"][role] for role in ROLES[1:])), 4)
