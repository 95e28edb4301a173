"""Health: `/healthz` says that the process answers, `/readyz` whether it can serve, and names what is missing.

Alive asks nobody: an outage of the database must not restart anything. Ready asks the database, its schema and Redis,
and whatever else was registered. Redis alone missing is `degraded` and still ready: accepting needs only the database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import text
from starlette.responses import JSONResponse, Response

from shared.runtime.examples import example
from shared.runtime.resources import Resources, get_resources
from shared.runtime.schema import SchemaWatch

CHECK_LIMIT_S = 2.0
_ALIVE = {"status": "alive"}
_DEGRADED = {
    "status": "degraded", "checks": {"database": "ok", "redis": "missing", "schema": "ok"},
    "missing": [{"check": "redis", "problem": "ConnectionError: it does not answer", "required": False}],
}  # fmt: skip
_READY = {"status": "ready", "checks": {"database": "ok", "redis": "ok", "schema": "ok"}, "missing": []}
_STATES = {
    "ready": {"summary": "It can serve", "value": _READY},
    "degraded": {"summary": "It serves, and Redis is missing", "value": _DEGRADED},
}
_READINESS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"examples": _STATES}}},
    503: {"description": "`not_ready`: something that is required is missing"},
}


@dataclass(frozen=True)
class Standing:
    """One thing about a process without HTTP of its own: what is wrong with it, in words, or None."""

    name: str
    problem: str | None = None
    required: bool = True


@dataclass(frozen=True)
class Check:
    """`probe` returns what is wrong, in words, or None. What is not `required` degrades and does not stop serving."""

    name: str
    probe: Callable[[Resources], Awaitable[str | None]]
    required: bool = True


async def _database(resources: Resources) -> str | None:
    async with resources.database.reader.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return None


async def _redis(resources: Resources) -> str | None:
    await resources.redis.publish("holdfast:health", b"")  # a PING may be answered by a server that still loads
    return None


def health_router(checks: Sequence[Check] = ()) -> APIRouter:
    router = APIRouter(tags=["health"])
    standard = (Check("database", _database), Check("redis", _redis, required=False))

    @router.get("/healthz", summary="Is the process alive?", responses=example(_ALIVE))
    async def healthz() -> dict[str, str]:
        return _ALIVE

    @router.get("/readyz", summary="Can it serve, and what is missing?", responses=_READINESS)
    async def readyz(request: Request) -> Response:
        resources = get_resources(request)
        watch: SchemaWatch = request.app.state.schema_watch

        async def schema(_: Resources) -> str | None:
            return "; ".join(await watch.problems()) or None

        every = (*standard, Check("schema", schema), *checks)
        found = await asyncio.gather(*(_ask(check, resources) for check in every))
        return _answer([Standing(check.name, words, check.required) for check, words in zip(every, found, strict=True)])

    return router


def _answer(every: Sequence[Standing]) -> Response:
    status, document = readiness(every)
    return JSONResponse(document, status)


def readiness(every: Sequence[Standing]) -> tuple[int, dict[str, Any]]:
    """The status and the body of `/readyz`."""
    missing = [{"check": one.name, "problem": one.problem, "required": one.required} for one in every if one.problem]
    ready = not any(item["required"] for item in missing)
    status = "not_ready" if not ready else "degraded" if missing else "ready"
    checks = {one.name: "missing" if one.problem else "ok" for one in every}
    return 200 if ready else 503, {"status": status, "checks": checks, "missing": missing}


async def _ask(check: Check, resources: Resources) -> str | None:
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            return await check.probe(resources)
    except TimeoutError:
        return f"no answer within {CHECK_LIMIT_S:g} s"
    except Exception as error:
        return f"{type(error).__name__}: it does not answer"
