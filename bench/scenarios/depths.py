"""What claim and completion cost with 0, 1,000, … 1,000,000 jobs waiting behind: the points of a curve.

The stores' own statements, a hundred jobs at a time (`bench.hot`), with nothing dead, each depth a database of its
own that is made once and only loses what is measured.
"""

from contextlib import AsyncExitStack
from typing import Any

from bench.commits import settle
from bench.figures import Figure, Outcome, Table, column, median_of
from bench.hot import BOUND, hot
from bench.order import turns
from bench.ours import Ours
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage

DEPTHS = (0, 1_000, 10_000, 100_000, 1_000_000)
JOBS = 2_000


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    depths = [depth for depth in DEPTHS if depth <= scale.waiting]
    rounds: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        sides: dict[int, Ours] = {}
        for depth in depths:
            step(f"making {depth:,} waiting")
            sides[depth] = Ours(stage)
            stack.push_async_callback(sides[depth].close)
            await sides[depth].open()
            await sides[depth].fill(depth)
        for number in range(scale.rounds + 1):
            row: dict[str, Any] = {}
            for depth in turns(depths, number):
                step(f"{depth:,} waiting: " + (f"round {number} of {scale.rounds}" if number else "warming up"))
                row[str(depth)] = await _measure(stage, sides[depth])
            if number:
                rounds.append({**row, "ratio": {at: row[at]["hot_cpu_us"] / row["0"]["hot_cpu_us"] for at in row}})
    most = str(depths[-1])
    name = f"claim + complete, {depths[-1]:,} waiting ÷ none: backend CPU"
    figures = [
        Figure(name, column(rounds, "ratio", most), "times", "<=", BOUND),
        *(
            Figure(f"claim + complete, {d:,} waiting: wall", column(rounds, str(d), "hot_us"), "µs", "<=")
            for d in depths
        ),
    ]
    rows: list[list[str | float | None]] = [
        [f"{depth:,}", *(median_of(rounds, str(depth), key) for key in ("hot_us", "hot_cpu_us", "relay_us"))]
        for depth in depths
    ]
    table = Table("Cost against backlog", ["waiting", "claim + complete µs", "backend CPU µs", "dispatch µs"], rows)
    return Outcome("depths", kind, DURABILITY[kind], figures, rounds, [], [table])


async def _measure(stage: Stage, side: Ours) -> dict[str, Any]:
    await stage.flush()
    await side.fill(JOBS)
    await settle(side.room.url)
    return await hot(stage, side.resources, JOBS)
