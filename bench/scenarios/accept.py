"""`POST /v1/webhooks/events`, durable when it answers, beside a FastAPI route with the same body and no database.

Closed loop over 50 connections; each accepted event makes one delivery. Nothing dispatches meanwhile.
"""

from pathlib import Path
from typing import Any

import orjson

from bench import backlog
from bench.cpu import Meter
from bench.figures import Figure, Outcome, column
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import DURABILITY, Kind, Stage
from shared.db.tx import open_tx
from shared.runtime.callers import create_key
from shared.runtime.resources import Resources

BOUND = 0.50
CONNECTIONS = 50
PATH = "/v1/webhooks/events"


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    body = event_body(stage)
    rounds: list[dict[str, Any]] = []
    async with stage.furnished(kind) as (room, resources):
        header = await key_header(resources)
        await backlog.endpoint(resources, stage.receiver_url())
        urls = {
            "ours": await room.http("services.webhooks.app:create_app", "ours") + PATH,
            "plain": await room.http("bench.reference:create_app", "plain") + PATH,
        }
        for number in range(scale.rounds + 1):
            step("warming up" if number == 0 else f"round {number} of {scale.rounds}")
            count = 1_000 if number == 0 else scale.accepts
            sides = ("plain", "ours") if number % 2 else ("ours", "plain")
            told = {side: await _load(stage, room.pids(side), urls[side], body, header, count=count) for side in sides}
            if number:
                rounds.append({**told, "ratio": told["ours"]["rate"] / told["plain"]["rate"]})
    figures = [
        Figure("accept an event ÷ FastAPI without a database", column(rounds, "ratio"), bound=BOUND),
        Figure("accept an event", column(rounds, "ours", "rate"), "/s"),
        Figure("FastAPI without a database", column(rounds, "plain", "rate"), "/s"),
        Figure("CPU of an accept: app", column(rounds, "ours", "process_cpu_us", "app"), "µs"),
        Figure("CPU of an accept: database + Valkey", column(rounds, "ours", "process_cpu_us", "servers"), "µs"),
        Figure("CPU of a plain request: app", column(rounds, "plain", "process_cpu_us", "app"), "µs"),
    ]
    return Outcome("accept", kind, DURABILITY[kind], figures, rounds)


async def _load(stage: Stage, app: list[int], url: str, body: Path, header: str, *, count: int) -> dict[str, Any]:
    meter = Meter({"app": app, "servers": stage.server_pids})
    told: dict[str, Any] = await stage.tool(
        "bench.load", "closed", "--url", url, "--body", str(body), "--header", header,
        "--connections", str(CONNECTIONS), "--total", str(count),
    )  # fmt: skip
    if set(told["statuses"]) != {"202"}:
        raise RuntimeError(f"{url} answered {told['statuses']}")
    return {**told, "process_cpu_us": meter.per_job_us(count)}


def event_body(stage: Stage) -> Path:
    path = stage.folder / "event.json"
    path.write_bytes(orjson.dumps({"type": "media.asset.processed.v1", "data": backlog.DATA}))
    return path


async def key_header(resources: Resources) -> str:
    async with open_tx(resources.database) as tx:
        _, key = await create_key(tx, name="bench", tenant=backlog.TENANT, scopes=["*"])
    return f"authorization: Bearer {key}"
