"""Open loops over the whole system, and floods that say how much goes through it.

`Starts`: no-ops, from the intended enqueue to the handler's start as the ledger keeps it. `Arrivals`: events through
the HTTP app, the relay and the worker, to the request's arrival, beside a POST straight to the receiver, which is the
generator's and the network's own share. At which rate is the scenario's choice.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench import backlog
from bench.figures import Figure, column
from bench.ours import BROKER, SLOTS
from bench.pace import pace, percentile, spread_ms
from bench.scenarios import deliveries
from bench.scenarios.accept import PATH, event_body, key_header
from bench.stage import Kind, Room, Stage, until
from shared.runtime.resources import Resources
from shared.testing.lab import QUEUE

Told = list[tuple[str, int, int]]  # id, intended ns, answered ns
CONNECTIONS = 50
FLOOD_EVENTS = 2_000
LIMIT_S = 30.0
STAGES = ("until it is durable", "until a pass of the relay begins", "pass, stream, read", "claim and its commit")
WAYS = (
    "until the app has made its job", "commit, until a pass of the relay begins", "pass, stream, read",
    "claim and its commit", "payload, signing, request",
)  # fmt: skip
_STARTED = text(
    """
    SELECT a.job_id, a.started_at, j.dispatched_at, j.claimed_at FROM job_attempt AS a JOIN job AS j ON j.id = a.job_id
     WHERE a.started_at >= :since
    """
)
_DELIVERED = text(
    """
    SELECT d.event_id, j.created_at, j.dispatched_at, j.claimed_at, a.started_at
      FROM webhooks_deliveries AS d JOIN job AS j ON j.id = d.job_id JOIN job_attempt AS a ON a.job_id = j.id
     WHERE j.created_at >= :since
    """
)


@dataclass
class Starts:
    stage: Stage
    room: Room
    resources: Resources

    async def round(self, rate: float, seconds: float, side: str = "ours") -> dict[str, Any]:
        """`side`: ours, or flood, which sends as fast as it can whatever the rate. Also when each was due."""
        arguments = (side, "--rate", str(rate), "--seconds", str(seconds))
        jobs = (await self.stage.tool("bench.producer", *arguments, env=self.room.env()))["jobs"]
        since_us = min(intended_ns for _, intended_ns, _ in jobs) // 1000

        async def started() -> dict[str, Any] | None:
            async with self.resources.database.reader.connect() as connection:
                found = {row.job_id: row for row in (await connection.execute(_STARTED, {"since": since_us})).all()}
            return found if all(job_id in found for job_id, *_ in jobs) else None

        rows = await until(started, "every job started", LIMIT_S)
        at_us = {job_id: row.started_at for job_id, row in rows.items()}
        return {
            "stages": _stages(jobs, rows),
            "start": spread_ms([at_us[job_id] / 1e3 - intended_ns / 1e6 for job_id, intended_ns, _ in jobs]),
            "start_after_commit": spread_ms([at_us[job_id] / 1e3 - durable_ns / 1e6 for job_id, _, durable_ns in jobs]),
            "pace": pace([durable_ns for _, _, durable_ns in jobs], [at_us[job_id] * 1000 for job_id, *_ in jobs]),
        }


@dataclass
class Arrivals:
    stage: Stage
    resources: Resources
    url: str
    header: str

    async def round(self, rate: float, seconds: float) -> dict[str, Any]:
        """Straight to the receiver, then through the system."""
        bodies = [event_body(self.stage)]
        await self._forget()
        straight = await self.open(self.stage.receiver_url("/timed"), rate, seconds, bodies)
        await self._forget()
        told, came_ns = await self._send(self.url, rate, seconds, bodies)
        return {"straight": straight["arrival"], **_spreads(told, came_ns), "ways": await self._ways(told, came_ns)}

    async def flood(self) -> dict[str, float]:
        """Each connection asks again when it is answered; every event is waited for."""
        await self._forget()
        told = await self.load("closed", self.url, [event_body(self.stage)], "--total", str(FLOOD_EVENTS))
        came_ns = [at_ns for _, at_ns in await self._came(FLOOD_EVENTS)]
        return pace([told["began_ns"], *[told["ended_ns"]] * (FLOOD_EVENTS - 1)], came_ns)

    async def open(self, url: str, rate: float, seconds: float, bodies: Sequence[Path]) -> dict[str, Any]:
        """Send these in turn; every one of them is waited for."""
        return _spreads(*await self._send(url, rate, seconds, bodies))

    async def _send(self, url: str, rate: float, seconds: float, bodies: Sequence[Path]) -> tuple[Told, dict[str, int]]:
        """What was told of each, and when it came (ns), by its id."""
        told: Told = await self.load("open", url, bodies, "--rate", str(rate), "--seconds", str(seconds))
        return told, dict(await self._came({key for key, *_ in told}))

    async def _ways(self, told: Told, came_ns: Mapping[str, int]) -> dict[str, float]:
        """Medians of the ways of these events."""
        since_us = min(intended_ns for _, intended_ns, _ in told) // 1000

        async def ended() -> Mapping[str, Any] | None:
            async with self.resources.database.reader.connect() as connection:
                rows = (await connection.execute(_DELIVERED, {"since": since_us})).all()
            found = {row.event_id: row for row in rows}
            return found if all(key in found for key, *_ in told) else None

        rows: Mapping[str, Any] = await until(ended, "every attempt recorded", LIMIT_S)
        return _medians_ms(WAYS, [
            (intended_ns / 1000, row.created_at, row.dispatched_at, row.claimed_at, row.started_at, came_ns[key] / 1000)
            for key, row, intended_ns in ((key, rows[key], intended_ns) for key, intended_ns, _ in told)
        ])  # fmt: skip

    async def load(self, mode: str, url: str, bodies: Sequence[Path], *options: str) -> Any:
        paths = [part for path in bodies for part in ("--body", str(path))]
        return await self.stage.tool(
            "bench.load", mode, "--url", url, *paths, "--header", self.header,
            "--connections", str(CONNECTIONS), *options,
        )  # fmt: skip

    async def _forget(self) -> None:
        await self.stage.ask_receiver("/reset")

    async def _came(self, wanted: int | set[str]) -> list[tuple[str, int]]:
        """What the receiver has noted, once it is so many, or these are among it."""

        async def arrived() -> list[tuple[str, int]] | None:
            came: list[tuple[str, int]] = await self.stage.ask_receiver("/arrivals")
            keys = {key for key, _ in came}
            return came if (len(keys) >= wanted if isinstance(wanted, int) else wanted <= keys) else None

        found: list[tuple[str, int]] = await until(arrived, "every event arrived", LIMIT_S)
        return found


@asynccontextmanager
async def starts(stage: Stage, kind: Kind) -> AsyncIterator[Starts]:
    """A room with a relay and a worker for no-ops."""
    async with stage.furnished(kind) as (room, resources):
        room.relay(QUEUE)
        room.worker(BROKER, SLOTS)
        await backlog.worker_ready(resources.database)
        yield Starts(stage, room, resources)


@asynccontextmanager
async def arrivals(stage: Stage, kind: Kind) -> AsyncIterator[Arrivals]:
    """A room with the whole way of an event, warmed up."""
    async with stage.furnished(kind) as (room, resources):
        header = await key_header(resources)
        await backlog.endpoint(resources, stage.receiver_url("/timed"))
        room.relay("webhooks")
        room.worker("services.webhooks.worker:create_broker", deliveries.SLOTS)
        url = await room.http("services.webhooks.app:create_app") + PATH
        await backlog.worker_ready(resources.database)
        side = Arrivals(stage, resources, url, header)
        await side.round(200, 1.0)
        yield side


def shares(
    name: str, rounds: list[dict[str, Any]], key: str, bounds: tuple[float | None, float | None] = (None, None)
) -> list[Figure]:
    """The median and the 99th percentile of a spread that each round holds."""
    pairs = zip(("p50", "p99"), bounds, strict=True)
    return [Figure(f"{name}, {share}", column(rounds, key, share), "ms", "<=", bound) for share, bound in pairs]


def _stages(jobs: list[tuple[str, int, int]], rows: Mapping[str, Any]) -> dict[str, float]:
    """Medians, in ms, of the ways between the instants that the generator and the ledger know."""
    seen = [
        (intended_ns / 1000, durable_ns / 1000, row.dispatched_at, row.claimed_at, row.started_at)
        for row, intended_ns, durable_ns in ((rows[job_id], *times) for job_id, *times in jobs)
    ]
    return _medians_ms(STAGES, seen)


def _spreads(told: Told, came_ns: Mapping[str, int]) -> dict[str, Any]:
    return {
        "arrival": spread_ms([(came_ns[key] - intended_ns) / 1e6 for key, intended_ns, _ in told]),
        "answer": spread_ms([(answered_ns - intended_ns) / 1e6 for _, intended_ns, answered_ns in told]),
    }


def _medians_ms(names: Sequence[str], seen: Sequence[Sequence[float]]) -> dict[str, float]:
    """Of the ways between neighbours of these instants (µs)."""
    return {
        name: round(percentile([(instants[n + 1] - instants[n]) / 1000 for instants in seen], 0.5), 3)
        for n, name in enumerate(names)
    }
