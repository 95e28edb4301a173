"""No-op jobs, durable to the committed completion, beside stock taskiq-redis, which is not durable."""

from typing import Any

from bench import backlog, stock
from bench.figures import Figure, Outcome, column
from bench.ours import BROKER, SLOTS
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage
from shared.testing.lab import QUEUE

BOUND = 2.0


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        room.relay(QUEUE)
        room.worker(BROKER, SLOTS)
        await backlog.worker_ready(resources.database)
        for number in range(scale.rounds + 1):
            warm = number == 0
            step("warming up" if warm else f"round {number} of {scale.rounds}")
            count = 1_000 if warm else scale.noops
            plain = {} if warm else await stock.drain(stage, min(count, 10_000))
            due_us = await backlog.noops(resources, count)
            ours = (await backlog.drain(room, resources, QUEUE, due_us, count)).document()
            if not warm:
                rounds.append({"stock": plain, "ours": ours, "ratio": ours["rate"] / plain["rate"]})
    bound = BOUND if kind == "postgres" else None
    figures = [
        Figure("durable no-op drain ÷ stock taskiq-redis", column(rounds, "ratio"), bound=bound),
        Figure("durable no-op drain", column(rounds, "ours", "rate"), "/s"),
        Figure("stock taskiq-redis drain", column(rounds, "stock", "rate"), "/s"),
        Figure("CPU of a no-op: worker", column(rounds, "ours", "cpu_us", "worker"), "µs"),
        Figure("CPU of a no-op: relay", column(rounds, "ours", "cpu_us", "relay"), "µs"),
        Figure("CPU of a no-op: database + Valkey", column(rounds, "ours", "cpu_us", "servers"), "µs"),
        Figure("CPU of a stock no-op: worker", column(rounds, "stock", "cpu_us", "worker"), "µs"),
        Figure("CPU of a stock no-op: Valkey", column(rounds, "stock", "cpu_us", "servers"), "µs"),
    ]  # fmt: skip
    return Outcome("drain", kind, DURABILITY[kind], figures, rounds)
