"""Durable no-ops of Holdfast beside Celery, dramatiq, procrastinate, pgqueuer and stock taskiq-redis.

Each as it comes and tuned, one worker process, preloaded and then started cold, CPU of the servers counted. Only those
on PostgreSQL are as durable as Holdfast: the table says what each promises. A peer that fails is left out of the rest
of the run, with its reason.
"""

from typing import Any

from bench import field, venv
from bench.contestant import Contestant
from bench.figures import Figure, Outcome, Table, column, median_of
from bench.order import turns
from bench.ours import Ours
from bench.peer import Peer
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import Kind, Stage
from bench.stock import Stock

LIMIT_S = 15.0
ONE_BY_ONE = 500
US = Ours.name
CELERY = tuple(spec.name for spec in field.CELERY)
STOCK = ("taskiq-redis", "taskiq-redis, tuned")
PGQUEUER = field.PGQUEUER[1].name


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    step("installing the peers")
    reason = venv.ensure()
    sides: list[Contestant] = [Ours(stage), Stock(stage), Stock(stage, tuned=True)]
    sides += [] if reason else [Peer(stage, spec) for spec in field.PEERS]
    rounds: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    try:
        for side in sides:
            await _tried(side.open(), side, skipped)
        for number in range(scale.rounds):
            row: dict[str, Any] = {}
            for side in turns(sides, number):
                if side.name not in skipped:
                    step(f"{side.name}, round {number + 1} of {scale.rounds}")
                    row[side.name] = await _tried(_round(side, scale.contest // (2 if side.slow else 1)), side, skipped)
            rounds.append({name: told for name, told in row.items() if told})
    finally:
        for side in sides:
            await side.close()
    notes = [f"left out: {name}: {why}" for name, why in skipped.items()]
    notes += [f"no peer but stock taskiq-redis: {reason}"] if reason else []
    durability = "; ".join(f"{side.name}: {side.durability}" for side in sides)
    figures = ratios(rounds, {side.name for side in sides} - set(skipped))
    return Outcome("peers", kind, durability, figures, rounds, notes, [_table(rounds, sides)])


async def _round(side: Contestant, jobs: int) -> dict[str, Any]:
    await side.empty()
    one = min(ONE_BY_ONE, jobs // 2)
    sent = await side.enqueue(one, jobs - one)
    return {"enqueue": sent, "drain": (await side.drain(jobs, LIMIT_S)).document()}


async def _tried(work: Any, side: Contestant, skipped: dict[str, str]) -> Any:
    """What `work` answers; a peer's failure is its own, ours is the scenario's."""
    try:
        return await work
    except Exception as error:
        if side.name == US:
            raise
        skipped[side.name] = f"{type(error).__name__}: {error}"[:300]
        return None


def ratios(rounds: list[dict[str, Any]], names: set[str]) -> list[Figure]:
    """Ours ÷ the faster setting of each peer, and the same in CPU; only of those that took part in every round."""
    figures: list[Figure] = []
    against = (
        ("Celery", CELERY, 5.0),
        ("pgqueuer at batch 100", (PGQUEUER,), 1.0),
        ("stock taskiq-redis", STOCK, 2.0),
        ("dramatiq", tuple(spec.name for spec in field.DRAMATIQ), None),
        ("procrastinate", tuple(spec.name for spec in field.PROCRASTINATE), None),
        ("pgqueuer as it comes", (field.PGQUEUER[0].name,), None),
    )
    for words, settings, bound in against:
        there = [name for name in settings if name in names]
        if not there:
            continue
        best = [max((row[name]["drain"] for name in there), key=lambda told: told["rate"]) for row in rounds]
        mine = [row[US]["drain"] for row in rounds]
        rate = [round(us["rate"] / peer["rate"], 4) for us, peer in zip(mine, best, strict=True)]
        cpu = [round(us["cpu_total_us"] / peer["cpu_total_us"], 4) for us, peer in zip(mine, best, strict=True)]
        figures.append(Figure(f"no-op drain ÷ {words}", rate, bound=bound))
        figures.append(Figure(f"CPU of a no-op, servers included ÷ {words}", cpu, sense="<="))
    figures.append(Figure("no-op drain from a cold start", column(rounds, US, "drain", "rate"), "/s"))
    return figures


def _table(rounds: list[dict[str, Any]], sides: list[Contestant]) -> Table:
    columns = ["", "enqueue one by one /s", "in bulk /s", "drain /s", "worker µs", "servers µs", "durability"]
    rows: list[list[str | float | None]] = []
    for side in sides:
        relay = median_of(rounds, side.name, "drain", "cpu_us", "relay") or 0.0
        worker = median_of(rounds, side.name, "drain", "cpu_us", "worker")
        rows.append([
            side.name,
            median_of(rounds, side.name, "enqueue", "one"),
            median_of(rounds, side.name, "enqueue", "bulk"),
            median_of(rounds, side.name, "drain", "rate"),
            None if worker is None else worker + relay,
            median_of(rounds, side.name, "drain", "cpu_us", "servers"),
            side.durability,
        ])  # fmt: skip
    return Table("No-op jobs, one worker process (worker: and relay; CPU per job while draining)", columns, rows)
