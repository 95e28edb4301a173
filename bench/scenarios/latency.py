"""How long until it starts, and until it arrives, from the *intended* start of a fixed schedule.

Enqueue → start: no-ops at 100/s, to the handler's start as the ledger keeps it, beside stock taskiq-redis. Accept →
receiver: events at 200/s through the HTTP app, the relay and the worker, to the request's arrival, beside a POST
straight to the receiver, which is the generator's and the network's own share.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from bench import backlog, stock
from bench.figures import Figure, Outcome, column
from bench.pace import pace, percentile, spread_ms
from bench.scale import Scale
from bench.scenarios import Step, deliveries, drain
from bench.scenarios.accept import PATH, event_body, key_header
from bench.stage import DURABILITY, Kind, Room, Stage, until
from shared.runtime.resources import Resources, open_resources
from shared.testing.lab import QUEUE

STARTS_A_SECOND, EVENTS_A_SECOND = 100.0, 200.0
BOUNDS_MS = {"start": (3.0, 10.0), "arrival": (6.0, 30.0)}
_STARTED = text(
    """
    SELECT a.job_id, a.started_at, j.dispatched_at, j.claimed_at FROM job_attempt AS a JOIN job AS j ON j.id = a.job_id
     WHERE a.started_at >= :since
    """
)
STAGES = ("until it is durable", "until a pass of the relay begins", "pass, stream, read", "claim and its commit")


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    starts = await _starts(stage, scale, kind, step)
    arrivals = await _arrivals(stage, scale, kind, step)
    rounds = [{**start, **arrival} for start, arrival in zip(starts, arrivals, strict=True)]
    judged = kind == "postgres"

    def pair(name: str, key: str, bounds: tuple[float, float] | None = None) -> list[Figure]:
        limits: tuple[float | None, float | None] = bounds if bounds and judged else (None, None)
        shares = zip(("p50", "p99"), limits, strict=True)
        return [Figure(f"{name}, {p}", column(rounds, key, p), "ms", "<=", limit) for p, limit in shares]

    figures = [
        *pair("enqueue → start at 100/s", "start", BOUNDS_MS["start"]),
        *pair("durable → start at 100/s", "start_after_commit"),
        *(Figure(f"of enqueue → start, p50: {stage}", column(rounds, "stages", stage), "ms") for stage in STAGES),
        *pair("stock taskiq: enqueue → start at 100/s", "stock"),
        *pair("accept → receiver at 200/s", "arrival", BOUNDS_MS["arrival"]),
        *pair("accept → answer at 200/s", "answer"),
        *pair("straight to the receiver at 200/s", "straight"),
    ]
    return Outcome("latency", kind, DURABILITY[kind], figures, rounds)


async def _starts(stage: Stage, scale: Scale, kind: Kind, step: Step) -> list[dict[str, Any]]:
    room = await stage.room(kind)
    rounds: list[dict[str, Any]] = []
    async with open_resources(room.settings) as resources:
        try:
            room.relay(QUEUE)
            room.worker(drain.BROKER, drain.SLOTS)
            await backlog.worker_ready(resources.database)
            await start_round(stage, room, resources, STARTS_A_SECOND, 1.0)
            for number in range(scale.rounds):
                step(f"enqueue → start, round {number + 1} of {scale.rounds}")
                plain = await stock.starts_ms(stage, STARTS_A_SECOND, scale.open_loop_s)
                ours = await start_round(stage, room, resources, STARTS_A_SECOND, scale.open_loop_s)
                rounds.append({"stock": spread_ms(plain), **ours})
        finally:
            room.leave()
    return rounds


async def start_round(
    stage: Stage, room: Room, resources: Resources, rate: float, seconds: float, side: str = "ours"
) -> dict[str, Any]:
    """`side`: ours, or flood, which sends as fast as it can whatever the rate. Also when each was due and started."""
    arguments = (side, "--rate", str(rate), "--seconds", str(seconds))
    jobs = (await stage.tool("bench.producer", *arguments, env=room.env()))["jobs"]
    since_us = min(intended_ns for _, intended_ns, _ in jobs) // 1000

    async def started() -> dict[str, Any] | None:
        async with resources.database.reader.connect() as connection:
            found = {row.job_id: row for row in (await connection.execute(_STARTED, {"since": since_us})).all()}
        return found if all(job_id in found for job_id, *_ in jobs) else None

    rows = await until(started, "every job started", 30)
    at_us = {job_id: row.started_at for job_id, row in rows.items()}
    return {
        "stages": _stages(jobs, rows),
        "start": spread_ms([at_us[job_id] / 1e3 - intended_ns / 1e6 for job_id, intended_ns, _ in jobs]),
        "start_after_commit": spread_ms([at_us[job_id] / 1e3 - durable_ns / 1e6 for job_id, _, durable_ns in jobs]),
        "pace": pace([durable_ns for _, _, durable_ns in jobs], [at_us[job_id] * 1000 for job_id, *_ in jobs]),
    }


def _stages(jobs: list[tuple[str, int, int]], rows: Mapping[str, Any]) -> dict[str, float]:
    """Medians, in ms, of the ways between the instants that the generator and the ledger know."""
    seen = [
        (intended_ns / 1000, durable_ns / 1000, row.dispatched_at, row.claimed_at, row.started_at)
        for row, intended_ns, durable_ns in ((rows[job_id], *times) for job_id, *times in jobs)
    ]
    return {
        name: round(percentile([(instants[n + 1] - instants[n]) / 1000 for instants in seen], 0.5), 3)
        for n, name in enumerate(STAGES)
    }


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
            await arrival_round(stage, url, header, EVENTS_A_SECOND, 1.0)
            for number in range(scale.rounds):
                step(f"accept → receiver, round {number + 1} of {scale.rounds}")
                straight = await arrival_round(
                    stage, stage.receiver_url("/timed"), header, EVENTS_A_SECOND, scale.open_loop_s
                )
                ours = await arrival_round(stage, url, header, EVENTS_A_SECOND, scale.open_loop_s)
                rounds.append({"straight": straight["arrival"], **ours})
        finally:
            room.leave()
    return rounds


async def arrival_round(stage: Stage, url: str, header: str, rate: float, seconds: float) -> dict[str, Any]:
    await stage.ask_receiver("/reset")
    told = await stage.tool(
        "bench.load", "open", "--url", url, "--body", str(event_body(stage)), "--header", header,
        "--connections", "50", "--rate", str(rate), "--seconds", str(seconds),
    )  # fmt: skip

    async def arrived() -> dict[str, int] | None:
        came = dict(await stage.ask_receiver("/arrivals"))
        return came if len(came) >= len(told) else None

    came_ns = await until(arrived, "every event arrived", 30)
    return {
        "arrival": spread_ms([(came_ns[key] - intended_ns) / 1e6 for key, intended_ns, _ in told]),
        "answer": spread_ms([(answered_ns - intended_ns) / 1e6 for _, intended_ns, answered_ns in told]),
    }
