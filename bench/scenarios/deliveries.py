"""Durable webhook deliveries, end to end, beside a bare aiohttp client loop to the same receiver.

Ours: events, links and jobs in the real tables, the real relay, one real webhooks worker, to the last committed
completion: to twenty endpoints, and to a single one, whose lane lets fifty be under way. The bare loop runs with the
concurrency that suits it best.
"""

from typing import Any

from bench import backlog
from bench.cpu import Meter
from bench.figures import Figure, Outcome, column
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Room, Stage

BOUND = 0.50
SLOTS = 200
ENDPOINTS = 20


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    body = stage.folder / "body.json"
    body.write_bytes(b"x" * 500)
    step("the receiver's ceiling")
    ceiling = await stage.tool("bench.load", "closed", "--url", stage.receiver_url(), "--body", str(body),
                               "--connections", "100", "--total", str(2 * scale.deliveries))  # fmt: skip
    connections = await _best_concurrency(stage, str(body), scale.deliveries)
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        to = await backlog.endpoints(resources, stage.receiver_url(), ENDPOINTS)
        room.relay("webhooks")
        room.worker("services.webhooks.worker:create_broker", SLOTS)
        await backlog.worker_ready(resources.database)
        for number in range(scale.rounds + 1):
            warm = number == 0
            step("warming up" if warm else f"round {number} of {scale.rounds}")
            count = min(1_000, scale.deliveries) if warm else scale.deliveries
            row = {
                "bare": await bare(stage, str(body), count, connections),
                "ours": await ours(stage, room, resources, to, count),
                "one": await ours(stage, room, resources, to[:1], count),
            }
            if not warm:
                rate = row["bare"]["rate"]
                ratios = {"ratio": row["ours"]["rate"] / rate, "one_ratio": row["one"]["rate"] / rate}
                rounds.append({**row, **ratios})
    for row in rounds:
        row["ours_client_cpu_us"] = row["ours"]["cpu_us"]["worker"] + row["ours"]["cpu_us"]["relay"]
    figures = [
        Figure(
            "durable deliveries ÷ bare aiohttp", column(rounds, "ratio"), bound=BOUND if kind == "postgres" else None
        ),
        Figure("durable deliveries to one endpoint ÷ bare aiohttp", column(rounds, "one_ratio")),
        Figure("durable deliveries", column(rounds, "ours", "rate"), "/s"),
        Figure("durable deliveries to one endpoint", column(rounds, "one", "rate"), "/s"),
        Figure("bare aiohttp client", column(rounds, "bare", "rate"), "/s"),
        Figure("CPU of a delivery: worker", column(rounds, "ours", "cpu_us", "worker"), "µs"),
        Figure("CPU of a delivery: relay", column(rounds, "ours", "cpu_us", "relay"), "µs"),
        Figure("CPU of a delivery: database + Valkey", column(rounds, "ours", "cpu_us", "servers"), "µs"),
        Figure("CPU of a bare POST: client", column(rounds, "bare", "cpu_us"), "µs"),
    ]
    notes = [f"the receiver alone: {ceiling['rate']:,.0f}/s", f"the bare client uses {connections} connections"]
    return Outcome("deliveries", kind, DURABILITY[kind], figures, rounds, notes)


async def _best_concurrency(stage: Stage, body: str, total: int) -> int:
    rates = {c: (await bare(stage, body, total // 2, c))["rate"] for c in (50, 100, 200)}
    return max(rates, key=lambda c: rates[c])


async def bare(stage: Stage, body: str, total: int, connections: int) -> dict[str, Any]:
    """The client loop, and what the receiver's CPU made of it."""
    meter = Meter({"receiver": _receiver(stage)})
    arguments = (
        "--url",
        stage.receiver_url(),
        "--body",
        body,
        "--total",
        str(total),
        "--connections",
        str(connections),
    )
    told: dict[str, Any] = await stage.tool("bench.reference", *arguments)
    return {**told, "connections": connections, "receiver_cpu_us": meter.per_job_us(total)["receiver"]}


async def ours(stage: Stage, room: Room, resources: Any, to: Any, count: int) -> dict[str, Any]:
    """So many deliveries, drained. RuntimeError when the receiver saw another number of them."""
    await stage.ask_receiver("/reset")
    due_us = await backlog.deliveries(resources, to, count)
    meter = Meter({"receiver": _receiver(stage)})
    drained = await backlog.drain(room, resources, "webhooks", due_us, count)
    receiver_us = meter.per_job_us(count)["receiver"]
    came = (await stage.ask_receiver("/count"))["count"]
    if came != count:
        raise RuntimeError(f"{count} deliveries, but {came} requests came")
    return {**drained.document(), "receiver_cpu_us": receiver_us}


def _receiver(stage: Stage) -> list[int]:
    return [role.process.pid for role in stage.supervisor.roles if role.name == "receiver" and role.process]
