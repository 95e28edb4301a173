"""The same drain under burdens: 300,000 dead rows under an open snapshot, 200,000 waiting, 10,000 lanes.

Each system ÷ its own rate without, of the same round; every burden is a database of its own, made once. A drain that
takes longer than its limit counts as far as it came. Lanes are ours only.
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
from bench.scenarios.peers import US
from bench.stage import DURABILITY, Kind, Stage

LIMIT_S = 8.0
BOUND = 0.8
BURDENS = ("plain", "dead", "waiting", "lanes")
SPECS = (field.PGQUEUER[1], field.PROCRASTINATE[1])


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    step("installing the peers")
    reason = venv.ensure()
    notes = [f"no peers: {reason}"] if reason else []
    names = [US, *([] if reason else [spec.name for spec in SPECS])]
    places: dict[tuple[str, str], Contestant] = {}
    rounds: list[dict[str, Any]] = []
    try:
        for name in names:
            for burden in BURDENS if name == US else BURDENS[:3]:
                step(f"{name}: {burden}")
                places[name, burden] = _side(stage, name)
                await places[name, burden].open()
                await _load(places[name, burden], burden, scale)
        for number in range(scale.rounds):
            row: dict[str, Any] = {name: {} for name in names}
            for (name, burden), side in turns(list(places.items()), number):
                step(f"{name}, {burden}: round {number + 1} of {scale.rounds}")
                row[name][burden] = await _round(side, burden, scale)
            rounds.append(row)
    finally:
        for side in places.values():
            await side.close()
    for row in rounds:
        for told in row.values():
            told["ratio"] = {
                burden: told[burden]["rate"] / told["plain"]["rate"] for burden in told if burden != "plain"
            }
    return Outcome(
        "burden", kind, DURABILITY[kind], _figures(rounds, names, scale), rounds, notes, [_table(rounds, names)]
    )


def _side(stage: Stage, name: str) -> Contestant:
    if name == US:
        return Ours(stage)
    return Peer(stage, next(spec for spec in SPECS if spec.name == name))


async def _load(side: Contestant, burden: str, scale: Scale) -> None:
    if burden == "dead":
        await side.bury(scale.dead_rows)
    elif burden == "waiting":
        await side.fill(scale.backlog + scale.rounds * scale.burden)


async def _round(side: Contestant, burden: str, scale: Scale) -> dict[str, Any]:
    """What waits is worked off a little each time; a lane is met by one job after another."""
    if burden == "lanes":
        await side.empty()
        await side.fill(scale.burden + scale.lanes, lanes=scale.lanes)
    elif burden != "waiting":
        if burden == "plain":
            await side.empty()
        await side.fill(scale.burden)
    return (await side.drain(scale.burden, LIMIT_S)).document()


def _figures(rounds: list[dict[str, Any]], names: list[str], scale: Scale) -> list[Figure]:
    words = {
        "dead": f"{scale.dead_rows:,} dead rows under an open snapshot",
        "waiting": f"{scale.backlog:,} waiting",
        "lanes": f"{scale.lanes:,} lanes",
    }
    figures = []
    for name in names:
        for burden in [burden for burden in words if burden in rounds[0][name]]:
            bound = BOUND if name == US else None
            values = column(rounds, name, "ratio", burden)
            figures.append(Figure(f"{name}: no-op drain with {words[burden]} ÷ without", values, bound=bound))
    return figures


def _table(rounds: list[dict[str, Any]], names: list[str]) -> Table:
    rows: list[list[str | float | None]] = []
    for name in names:
        rates = [median_of(rounds, name, burden, "rate") for burden in BURDENS]
        cpu = [median_of(rounds, name, burden, "cpu_total_us") for burden in BURDENS]
        rows.append([name, *rates, *cpu])
    columns = ["", *(f"{burden} /s" for burden in BURDENS), *(f"{burden} CPU µs" for burden in BURDENS)]
    return Table("No-op drains under burdens (CPU per job, worker, relay and servers)", columns, rows)
