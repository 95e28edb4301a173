"""From one worker process to two: no-op drains and deliveries, warm, the same jobs in turn with one and with two.

Where the workers, the relay, PostgreSQL, Valkey and the receiver share two cores, a second worker cannot bring twice as
much: what it costs a job in CPU says more than the rate.
"""

import os
from collections.abc import Sequence
from typing import Any

from bench import backlog
from bench.figures import Figure, Outcome, column
from bench.order import turns
from bench.ours import BROKER
from bench.scale import Scale
from bench.scenarios import Step, deliveries
from bench.stage import DURABILITY, Kind, Room, Stage
from services.webhooks.events import Subscription
from shared.runtime.resources import Resources
from shared.testing.lab import QUEUE

PLURALS = {"no-op": "no-ops", "delivery": "deliveries"}
BROKERS = {"no-op": (QUEUE, BROKER), "delivery": ("webhooks", "services.webhooks.worker:create_broker")}
SIDES = [(what, workers) for what in BROKERS for workers in (1, 2)]


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        to = await backlog.endpoints(resources, stage.receiver_url(), deliveries.ENDPOINTS)
        for number in range(scale.rounds):
            row: dict[str, Any] = {what: {} for what in BROKERS}
            for what, workers in turns(SIDES, number):
                step(f"{what}, {workers} of 2 workers, round {number + 1} of {scale.rounds}")
                row[what][str(workers)] = await _round(room, resources, to, what, workers, scale)
            rounds.append({what: {**told, **_ratios(told)} for what, told in row.items()})
    cores = len(os.sched_getaffinity(0))
    figures = []
    for what in BROKERS:
        figures += [
            Figure(f"{PLURALS[what]}, 2 workers ÷ 1, on {cores} cores", column(rounds, what, "rate_ratio")),
            Figure(f"CPU of a {what}, all processes, 2 workers ÷ 1", column(rounds, what, "cpu_ratio"), sense="<="),
            Figure(f"{PLURALS[what]}, 2 workers", column(rounds, what, "2", "rate"), "/s"),
        ]
    return Outcome("workers", kind, DURABILITY[kind], figures, rounds)


async def _round(
    room: Room, resources: Resources, to: Sequence[Subscription], what: str, workers: int, scale: Scale
) -> dict[str, Any]:
    queue, broker = BROKERS[what]
    room.relay(queue)
    for number in range(workers):
        room.worker(broker, deliveries.SLOTS, number=number, of=workers)
    try:
        await backlog.worker_ready(resources.database, workers)
        for count in (500, scale.deliveries):  # the first ones warm it up
            if what == "no-op":
                due_us = await backlog.noops(resources, count)
            else:
                due_us = await backlog.deliveries(resources, to, count)
            drained = (await backlog.drain(room, resources, queue, due_us, count)).document()
    finally:
        room.leave()
    return drained


def _ratios(told: dict[str, Any]) -> dict[str, float]:
    one, two = told["1"], told["2"]
    return {
        "rate_ratio": two["rate"] / one["rate"],
        "cpu_ratio": sum(two["cpu_us"].values()) / sum(one["cpu_us"].values()),
    }
