"""One HTTP process for a laptop: the three services' apps behind one port, told apart by path.

In the cluster each app is a Deployment of its own; here they share one process. `/readyz` is ready when every role of
the system is.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI
from sqlalchemy import text

from services.api.app import create_app as create_api
from services.media.app import create_app as create_media
from services.webhooks.app import create_app as create_webhooks
from shared.contracts.commands import QUEUES
from shared.kernel import logs
from shared.kernel.settings import CoreSettings, load
from shared.runtime.resources import Resources

PREFIXES = (("/v1/webhooks", "webhooks"), ("/v1/media", "media"))
_LIVING = text("SELECT DISTINCT queue FROM incarnation WHERE tombstone IS NULL")


class Front:
    def __init__(self, apps: dict[str, FastAPI]) -> None:
        self._apps = apps
        self._stack = AsyncExitStack()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] == "http" and scope["path"] == "/readyz":
            await self._ready(send)
            return
        app = self._apps[self._service(scope["path"])]
        await app({**scope, "app": app}, receive, send)

    def _service(self, path: str) -> str:
        for prefix, service in PREFIXES:
            if path == prefix or path.startswith(prefix + "/"):
                return service
        return "api"

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        try:
            for app in self._apps.values():
                await self._stack.enter_async_context(app.router.lifespan_context(app))
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _ready(self, send: Any) -> None:
        missing = await self._missing()
        body = orjson.dumps({"status": "not_ready" if missing else "ready", "missing": missing})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 503 if missing else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _missing(self) -> list[str]:
        resources: Resources = self._apps["api"].state.resources
        missing = []
        for name, app in self._apps.items():
            missing += [f"{name}: {problem}" for problem in await app.state.schema_watch.problems()]
        try:
            async with resources.database.reader.connect() as connection:
                living = {row.queue for row in await connection.execute(_LIVING)}
            missing += [f"{queue}-worker" for queue in QUEUES if queue not in living]
            missing += [] if "relay" in living else ["relay"]
        except Exception as error:
            missing.append(f"database: {error!r}")
        try:
            await resources.redis.ping()
        except Exception as error:
            missing.append(f"redis: {error!r}")
        return missing


def create_app() -> Front:
    logs.configure(load(CoreSettings).log_level)
    apps = {"api": create_api(), "webhooks": create_webhooks(), "media": create_media()}
    apps["api"].openapi = partial(_whole_document, [app.openapi for app in apps.values()])  # type: ignore[method-assign]
    return Front(apps)


def _whole_document(parts: Sequence[Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """One OpenAPI for the one front door: the three apps' paths and schemas together."""
    documents = [part() for part in parts]
    whole = {**documents[0], "info": {"title": "Holdfast", "version": "1"}, "paths": {}, "components": {}}
    for document in reversed(documents):
        whole["paths"] |= document["paths"]
        for kind, named in document.get("components", {}).items():
            whole["components"][kind] = {**whole["components"].get(kind, {}), **named}
    return whole
