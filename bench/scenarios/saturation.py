"""Latency at 70 % of what goes through: a flood says how much that is, then an open loop follows at 70 % of it.

The flood's rate is the lower of what was accepted and what was done while it lasted, producer and all on the same
cores. Enqueue → start stands beside stock taskiq-redis at 70 % of what it drained just before, accept → receiver beside
a POST straight to the receiver at the same rate.
"""

from typing import Any

from bench import stock
from bench.figures import Figure, Outcome, column
from bench.openloop import arrivals, shares, starts
from bench.pace import spread_ms
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage

SHARE = 0.7
FLOOD_S = 3.0
OPEN_LOOP_S = 5.0  # at such rates that is thousands of samples


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    seconds = min(OPEN_LOOP_S, scale.open_loop_s)
    rounds: list[dict[str, Any]] = [{} for _ in range(scale.rounds)]
    async with starts(stage, kind) as side:
        for number, row in enumerate(rounds):
            step(f"enqueue → start, round {number + 1} of {scale.rounds}")
            row["flood"] = await side.round(0, min(FLOOD_S, seconds), "flood")
            row["start_saturation"] = min(row["flood"]["pace"].values())
            drained = await stock.drain(stage, min(3_000, scale.noops))
            row["stock"] = spread_ms(await stock.starts_ms(stage, SHARE * drained["rate"], seconds))
            row.update(await side.round(SHARE * row["start_saturation"], seconds))
    async with arrivals(stage, kind) as way:
        for number, row in enumerate(rounds):
            step(f"accept → receiver, round {number + 1} of {scale.rounds}")
            row["arrival_saturation"] = min((await way.flood()).values())
            row.update(await way.round(SHARE * row["arrival_saturation"], seconds))
    figures = [
        Figure("saturation, enqueue → start", column(rounds, "start_saturation"), "/s"),
        *shares("enqueue → start at 70 % of saturation", rounds, "start"),
        *shares("stock taskiq: enqueue → start at 70 % of its drain", rounds, "stock"),
        Figure("saturation, accept → receiver", column(rounds, "arrival_saturation"), "/s"),
        *shares("accept → receiver at 70 % of saturation", rounds, "arrival"),
        *shares("accept → answer at 70 % of saturation", rounds, "answer"),
        *shares("straight to the receiver at the same rate", rounds, "straight"),
    ]
    return Outcome("saturation", kind, DURABILITY[kind], figures, rounds)
