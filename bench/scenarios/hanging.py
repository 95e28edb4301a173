"""What 5 % of endpoints that hang until their timeout cost the others, and those who publish.

Events at a fixed rate over HTTP to a hundred endpoints, one each. Alone, all of them answer; beside it, five of them
never do, and are new in every round: no circuit is open before it. What is compared is what the healthy ones receive.
"""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from bench import backlog
from bench.figures import Figure, Outcome, column
from bench.openloop import Arrivals, shares
from bench.scale import Scale
from bench.scenarios import Step
from bench.scenarios.accept import PATH, key_header
from bench.scenarios.deliveries import SLOTS
from bench.stage import DURABILITY, Kind, Stage
from shared.runtime.resources import Resources

RATE = 200.0
HEALTHY, HANGING = 95, 5
TIMEOUT_S = 5.0
BOUND = 1.5
FRESH_S = 1.0  # that an app may go on with the endpoints it knows


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        header = await key_header(resources)
        await _endpoints(resources, stage.receiver_url("/timed"), "well", HEALTHY)
        well, spare = _bodies(stage, "well", HEALTHY), _bodies(stage, "well", HANGING)
        room.relay("webhooks")
        room.worker("services.webhooks.worker:create_broker", SLOTS)
        url = await room.http("services.webhooks.app:create_app") + PATH
        await backlog.worker_ready(resources.database)
        side = Arrivals(stage, resources, url, header)
        for number in range(scale.rounds + 1):
            step("warming up" if number == 0 else f"round {number} of {scale.rounds}")
            seconds = scale.open_loop_s if number else 1.0
            alone = await _both(side, well, spare, seconds)
            hang = f"hang{number}"
            await _endpoints(resources, stage.receiver_url("/hang"), hang, HANGING)
            await asyncio.sleep(2 * FRESH_S)  # until the app has read them
            beside = await _both(side, well, _bodies(stage, hang, HANGING), seconds)
            await asyncio.sleep(TIMEOUT_S + 1)  # whoever hangs has been given up
            if number:
                ratios = {f"{what}_ratio": beside[what]["p99"] / alone[what]["p99"] for what in ("arrival", "answer")}
                rounds.append({"alone": alone, "beside": beside, **ratios})
    for row in rounds:
        row |= {f"{which}_{what}": row[which][what] for which in ("alone", "beside") for what in ("arrival", "answer")}
    figures = [
        Figure("healthy endpoints, p99 beside 5 % that hang ÷ alone", column(rounds, "arrival_ratio"), "times",
               "<=", BOUND if kind == "postgres" else None),
        *shares("healthy endpoints beside 5 % that hang", rounds, "beside_arrival"),
        *shares("healthy endpoints alone", rounds, "alone_arrival"),
        Figure("accept, p99 beside 5 % that hang ÷ alone", column(rounds, "answer_ratio"), "times", "<="),
        *shares("accept beside 5 % that hang", rounds, "beside_answer"),
        *shares("accept alone", rounds, "alone_answer"),
    ]  # fmt: skip
    return Outcome("hanging", kind, DURABILITY[kind], figures, rounds)


async def _both(side: Arrivals, well: list[Path], others: list[Path], seconds: float) -> dict[str, Any]:
    """Events for the healthy and for the others at once, by their share of the rate; what the healthy ones saw."""
    share = HEALTHY / (HEALTHY + HANGING)
    told: dict[str, Any]
    told, _ = await asyncio.gather(
        side.open(side.url, RATE * share, seconds, well),
        side.load("open", side.url, others, "--rate", str(RATE * (1 - share)), "--seconds", str(seconds)),
    )
    return told


async def _endpoints(resources: Resources, url: str, kind: str, count: int) -> None:
    for number in range(count):
        types = [f"{kind}.{number}"]
        await backlog.endpoint(resources, url, event_types=types, timeout_s=TIMEOUT_S, retry_schedule_s=[])


def _bodies(stage: Stage, kind: str, count: int) -> list[Path]:
    paths = [stage.folder / f"{kind}-{number}.json" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(orjson.dumps({"type": f"{kind}.{number}", "data": backlog.DATA}))
    return paths
