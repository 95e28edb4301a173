"""Durable deliveries to one endpoint, to a hundred and to five thousand, beside a bare aiohttp client loop.

Each endpoint is a lane with a state of its own; what they cost is what the relay, the look-ups and the database make
of that. All behind one receiver, and drained as in `deliveries`.
"""

from typing import Any

from bench import backlog
from bench.figures import Figure, Outcome, column
from bench.scale import Scale
from bench.scenarios import Step
from bench.scenarios.deliveries import SLOTS, bare, ours
from bench.stage import DURABILITY, Kind, Stage

CONNECTIONS = 100
CROWDS = (1, 100, 5_000)


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    body = stage.folder / "body.json"
    body.write_bytes(b"x" * 500)
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        step(f"{CROWDS[-1]:,} endpoints")
        to = await backlog.endpoints(resources, stage.receiver_url(), CROWDS[-1])
        room.relay("webhooks")
        room.worker("services.webhooks.worker:create_broker", SLOTS)
        await backlog.worker_ready(resources.database)
        for number in range(scale.rounds + 1):
            step("warming up" if number == 0 else f"round {number} of {scale.rounds}")
            count = scale.deliveries if number else min(1_000, scale.deliveries)
            row: dict[str, Any] = {"bare": await bare(stage, str(body), count, CONNECTIONS)}
            for crowd in CROWDS[:: 1 if number % 2 else -1]:
                told = await ours(stage, room, resources, to[:crowd], count)
                row[str(crowd)] = {**told, "ratio": told["rate"] / row["bare"]["rate"]}
            if number:
                rounds.append(row)
    figures = [Figure("bare aiohttp client, beside crowds", column(rounds, "bare", "rate"), "/s")]
    for crowd in CROWDS:
        name = f"{crowd:,} endpoint{'s' if crowd > 1 else ''}"
        figures += [
            Figure(f"deliveries to {name}", column(rounds, str(crowd), "rate"), "/s"),
            Figure(f"deliveries to {name} ÷ bare aiohttp", column(rounds, str(crowd), "ratio")),
            Figure(f"CPU of a delivery to {name}: relay", column(rounds, str(crowd), "cpu_us", "relay"), "µs"),
            Figure(f"CPU of a delivery to {name}: worker", column(rounds, str(crowd), "cpu_us", "worker"), "µs"),
        ]
    return Outcome("crowd", kind, DURABILITY[kind], figures, rounds)
