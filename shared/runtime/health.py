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

from shared.runtime.resources import Resources, get_resources
from shared.runtime.schema import SchemaWatch

CHECK_LIMIT_S = 2.0


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

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz(request: Request) -> Response:
        resources = get_resources(request)
        watch: SchemaWatch = request.app.state.schema_watch

        async def schema(_: Resources) -> str | None:
            return "; ".join(await watch.problems()) or None

        every = (*standard, Check("schema", schema), *checks)
        found = await asyncio.gather(*(_ask(check, resources) for check in every))
        missing = [
            {"check": check.name, "problem": words, "required": check.required}
            for check, words in zip(every, found, strict=True)
            if words
        ]
        return _answer(every, missing)

    return router


def _answer(every: Sequence[Check], missing: list[dict[str, Any]]) -> Response:
    ready = not any(item["required"] for item in missing)
    status = "not_ready" if not ready else "degraded" if missing else "ready"
    absent = {item["check"] for item in missing}
    checks = {check.name: "missing" if check.name in absent else "ok" for check in every}
    return JSONResponse({"status": status, "checks": checks, "missing": missing}, 200 if ready else 503)


async def _ask(check: Check, resources: Resources) -> str | None:
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            return await check.probe(resources)
    except TimeoutError:
        return f"no answer within {CHECK_LIMIT_S:g} s"
    except Exception as error:
        return f"{type(error).__name__}: it does not answer"
