"""How long until it starts, and until it arrives, from the *intended* start of a fixed schedule.

Enqueue → start: no-ops at 100/s beside stock taskiq-redis, and beside the least that the promises cost on this machine:
stock taskiq's way and two commits of one row (the job is durable before it is answered, its claim before it starts).
Accept → receiver: events at 200/s beside a POST straight to
the receiver (`bench.openloop`).
"""

from typing import Any

from bench import stock
from bench.commits import commits_ms
from bench.figures import Figure, Outcome, column
from bench.openloop import STAGES, WAYS, arrivals, shares, starts
from bench.pace import spread_ms
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage

STARTS_A_SECOND, EVENTS_A_SECOND = 100.0, 200.0
BOUNDS_MS = {"start": (3.0, 10.0), "arrival": (6.0, 30.0)}


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = [{} for _ in range(scale.rounds)]
    async with starts(stage, kind) as side:
        await side.round(STARTS_A_SECOND, 1.0)
        for number, row in enumerate(rounds):
            step(f"enqueue → start, round {number + 1} of {scale.rounds}")
            row["stock"] = spread_ms(await stock.starts_ms(stage, STARTS_A_SECOND, scale.open_loop_s))
            if kind == "postgres":
                row["commit"] = spread_ms(await commits_ms(side.room.url, STARTS_A_SECOND, scale.open_loop_s))
                row["floor"] = row["stock"]["p50"] + 2 * row["commit"]["p50"]
            row.update(await side.round(STARTS_A_SECOND, scale.open_loop_s))
    async with arrivals(stage, kind) as way:
        for number, row in enumerate(rounds):
            step(f"accept → receiver, round {number + 1} of {scale.rounds}")
            row.update(await way.round(EVENTS_A_SECOND, scale.open_loop_s))
    bounds: dict[str, Any] = BOUNDS_MS if kind == "postgres" else dict.fromkeys(BOUNDS_MS, (None, None))
    figures = [
        *shares("enqueue → start at 100/s", rounds, "start", bounds["start"]),
        *shares("durable → start at 100/s", rounds, "start_after_commit"),
        *(Figure(f"of enqueue → start, p50: {way}", column(rounds, "stages", way), "ms") for way in STAGES),
        *shares("stock taskiq: enqueue → start at 100/s", rounds, "stock"),
        *_floor(rounds, kind),
        *shares("accept → receiver at 200/s", rounds, "arrival", bounds["arrival"]),
        *(Figure(f"of accept → receiver, p50: {way}", column(rounds, "ways", way), "ms") for way in WAYS),
        *shares("accept → answer at 200/s", rounds, "answer"),
        *shares("straight to the receiver at 200/s", rounds, "straight"),
    ]
    return Outcome("latency", kind, DURABILITY[kind], figures, rounds)


def _floor(rounds: list[dict[str, Any]], kind: Kind) -> list[Figure]:
    if kind != "postgres":
        return []
    return [
        *shares("one row inserted and durable at 100/s", rounds, "commit"),
        Figure("stock taskiq and two such commits, p50", column(rounds, "floor"), "ms", "<="),
        Figure(
            "enqueue → start ÷ stock taskiq and two such commits, p50",
            [row["start"]["p50"] / row["floor"] for row in rounds], "times", "<=",
        ),
    ]  # fmt: skip
