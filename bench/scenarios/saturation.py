"""Latency at 70 % of what goes through: a flood says how much that is, then an open loop follows at 70 % of it.

The flood's rate is the lower of what was accepted and what was done while it lasted, producer and all on the same
cores. Enqueue → start stands beside stock taskiq-redis at 70 % of what it drained just before, accept → receiver beside
a POST straight to the receiver at the same rate.
"""

from dataclasses import replace
from typing import Any

from bench import backlog, stock
from bench.figures import Figure, Outcome, column
from bench.pace import pace, spread_ms
from bench.scale import Scale
from bench.scenarios import Step, deliveries, drain
from bench.scenarios.accept import PATH, event_body, key_header
from bench.scenarios.latency import arrival_round, start_round
from bench.stage import DURABILITY, Kind, Stage, until
from shared.runtime.resources import open_resources
from shared.testing.lab import QUEUE

SHARE = 0.7
FLOOD = 2_000  # events
OPEN_LOOP_S = 5.0  # at such rates that is thousands of samples


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    scale = replace(scale, open_loop_s=min(OPEN_LOOP_S, scale.open_loop_s))
    starts = await _starts(stage, scale, kind, step)
    arrivals = await _arrivals(stage, scale, kind, step)
    rounds = [{**start, **arrival} for start, arrival in zip(starts, arrivals, strict=True)]

    def pair(name: str, key: str) -> list[Figure]:
        return [Figure(f"{name}, {p}", column(rounds, key, p), "ms", "<=") for p in ("p50", "p99")]

    figures = [
        Figure("saturation, enqueue → start", column(rounds, "start_saturation"), "/s"),
        *pair("enqueue → start at 70 % of saturation", "start"),
        *pair("stock taskiq: enqueue → start at 70 % of its drain", "stock"),
        Figure("saturation, accept → receiver", column(rounds, "arrival_saturation"), "/s"),
        *pair("accept → receiver at 70 % of saturation", "arrival"),
        *pair("accept → answer at 70 % of saturation", "answer"),
        *pair("straight to the receiver at the same rate", "straight"),
    ]
    return Outcome("saturation", kind, DURABILITY[kind], figures, rounds)


async def _starts(stage: Stage, scale: Scale, kind: Kind, step: Step) -> list[dict[str, Any]]:
    room = await stage.room(kind)
    rounds: list[dict[str, Any]] = []
    async with open_resources(room.settings) as resources:
        try:
            room.relay(QUEUE)
            room.worker(drain.BROKER, drain.SLOTS)
            await backlog.worker_ready(resources.database)
            for number in range(scale.rounds):
                step(f"enqueue → start, round {number + 1} of {scale.rounds}")
                flood = await start_round(stage, room, resources, 0, min(3.0, scale.open_loop_s), "flood")
                saturation = min(flood["pace"].values())
                rate = SHARE * saturation
                drained = await stock.drain(stage, min(3_000, scale.noops))
                plain = await stock.starts_ms(stage, SHARE * drained["rate"], scale.open_loop_s)
                ours = await start_round(stage, room, resources, rate, scale.open_loop_s)
                rounds.append({**ours, "start_saturation": saturation, "flood": flood, "stock": spread_ms(plain)})
        finally:
            room.leave()
    return rounds


async def _arrivals(stage: Stage, scale: Scale, kind: Kind, step: Step) -> list[dict[str, Any]]:
    room = await stage.room(kind)
    rounds: list[dict[str, Any]] = []
    async with open_resources(room.settings) as resources:
        header = await key_header(resources)
        await backlog.endpoint(resources, stage.receiver_url("/timed"))
        try:
            room.relay("webhooks")
            room.worker("services.webhooks.worker:create_broker", deliveries.SLOTS)
            url = await room.http("services.webhooks.app:create_app") + PATH
            await backlog.worker_ready(resources.database)
            await arrival_round(stage, url, header, 200, 1.0)
            for number in range(scale.rounds):
                step(f"accept → receiver, round {number + 1} of {scale.rounds}")
                saturation = min((await _flood(stage, url, header)).values())
                rate = SHARE * saturation
                straight = await arrival_round(stage, stage.receiver_url("/timed"), header, rate, scale.open_loop_s)
                ours = await arrival_round(stage, url, header, rate, scale.open_loop_s)
                rounds.append({"straight": straight["arrival"], **ours, "arrival_saturation": saturation})
        finally:
            room.leave()
    return rounds


async def _flood(stage: Stage, url: str, header: str) -> dict[str, float]:
    """Fifty connections, each asking again when it is answered; the events are waited for."""
    await stage.ask_receiver("/reset")
    told = await stage.tool(
        "bench.load", "closed", "--url", url, "--body", str(event_body(stage)), "--header", header,
        "--connections", "50", "--total", str(FLOOD),
    )  # fmt: skip

    async def arrived() -> list[int] | None:
        came = [at_ns for _, at_ns in await stage.ask_receiver("/arrivals")]
        return came if len(came) >= FLOOD else None

    came_ns = await until(arrived, "the flood arrived", 30)
    return pace([told["began_ns"], *[told["ended_ns"]] * (FLOOD - 1)], came_ns)
