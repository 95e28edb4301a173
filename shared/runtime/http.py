"""The HTTP app that every service is: one gate in front, problems for errors, health and metrics beside its routes.

The gate lets nothing through but health without an API key, to the 404s; and nothing at all while the schema is not one
that this code works with. Building refuses a POST that takes no idempotency key, a route that names no scope and one
that reads JSON in FastAPI's way, so that none can be forgotten. The lifespan opens resources and starts no loops:
Taskiq runs it in workers as well.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.db.migrate import Owner
from shared.kernel import logs
from shared.kernel.errors import Misconfigured, Unavailable
from shared.kernel.settings import CoreSettings, load
from shared.runtime import metrics, problems
from shared.runtime.bodies import BODY_LIMIT_BYTES, Limits, bounded, check_head, check_length
from shared.runtime.callers import Callers, remember, require
from shared.runtime.examples import publish_whole
from shared.runtime.express import Endpoint, express_table
from shared.runtime.health import Check, health_router
from shared.runtime.idempotency import Replay, once, once_streamed
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.resources import Resources, get_resources, open_resources
from shared.runtime.schema import SchemaWatch
from shared.transport.broker import HoldfastBroker

_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "the same key and body again: the same answer, and one effect",
}
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
METRICS_PATH = "/metrics"
_HEAD = "holdfast.head"
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "holdfast_dead_open 0.0\n"}}}
}
Opened = Callable[[FastAPI, Resources], AbstractAsyncContextManager[Any]]
Scrape = Callable[[Resources], Awaitable[None]]


class HttpSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", frozen=True, extra="ignore", allow_inf_nan=False)

    metrics_open: bool = Field(False, description="serve /metrics without a key, for a scraper inside the cluster")
    body_limit_bytes: int = Field(BODY_LIMIT_BYTES, ge=1024, le=64 * 1024 * 1024)


def build_app(
    title: str,
    settings: CoreSettings,
    routers: Sequence[APIRouter],
    *,
    owners: Sequence[Owner],
    prefix: str = "/v1",
    resources: Callable[[CoreSettings], AbstractAsyncContextManager[Resources]] = open_resources,
    opened: Opened | None = None,
    broker: HoldfastBroker | None = None,
    body_limits: Mapping[str, int] | None = None,
    checks: Sequence[Check] = (),
    scrape: Scrape | None = None,
    http: HttpSettings | None = None,
    signed: str | None = None,
) -> FastAPI:
    """`routers` stand under `prefix`, which is not stripped: apps are told apart by path, not mounted.

    `opened(app, resources)` is entered after the resources and sets what the service adds to `app.state`.
    `body_limits` is by path template, `scrape` runs before metrics are shown. What stands below the path `signed` is
    asked for without an API key: its routes only look, and check the signature of their URL. Raises Misconfigured.
    """
    logs.configure(settings.log_level)
    chosen = http or load(HttpSettings)
    open_paths = HEALTH_PATHS | {METRICS_PATH} if chosen.metrics_open else HEALTH_PATHS

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with resources(settings) as held:
            watch = SchemaWatch(held.database, owners)
            app.state.resources, app.state.schema_watch, app.state.callers = held, watch, Callers(held.database)
            if broker is not None:
                broker.attach(held.acceptor)
            try:
                async with opened(app, held) if opened else nullcontext():
                    yield
            finally:
                await watch.close()

    app = FastAPI(title=title, version="1", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.settings = settings
    app.include_router(health_router(checks))
    app.include_router(_metrics_router(scrape, keyed=not chosen.metrics_open))
    for router in routers:
        _check_routes(router, prefix, signed)
        app.include_router(router, prefix=prefix)
    problems.install(app)
    app.add_exception_handler(Replay, _replayed)
    limits = Limits(chosen.body_limit_bytes, body_limits or {})
    table = express_table(api_routes(app))
    app.add_middleware(Gate, limits=limits, open_paths=open_paths, express=table, signed=signed)
    _document(app, signed)
    return app


class Gate:
    """Pure ASGI, outside of the app's routes: bounds, the schema, the caller; and the answer to whatever escapes."""

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        open_paths: frozenset[str],
        express: Mapping[tuple[str, str], Endpoint],
        signed: str | None = None,
    ) -> None:
        self._express = express
        self._signed = signed
        self._app = app
        self._limits = limits
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})
            return
        started = False
        if scope["method"] == "HEAD":  # RFC 9110: the head of what GET answers, for whatever GET answers
            scope, send = {**scope, "method": "GET", _HEAD: True}, bodiless(send)

        async def sending(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            limit = await self._admit(scope)
            direct = self._express.get((scope["method"], scope["path"]))
            if direct is None:
                await self._app(scope, bounded(receive, limit), sending)
                return
            response = await direct(Request(scope, bounded(receive, limit)))
            await response(scope, receive, sending)
        except Replay as replay:  # the way past the app's own handlers is the express one
            await replay.response(scope, receive, send)
        except Exception as error:
            if started:
                raise  # the server cuts the connection: half an answer must not look like a whole one
            await problems.from_error(error)(scope, receive, send)

    async def _admit(self, scope: Scope) -> int:
        """Returns the bound of the body, in bytes."""
        check_head(scope)
        path = scope["path"]
        headers = dict(scope["headers"])
        if self._signed is not None and path.startswith(self._signed):
            await _check_schema(scope)
        elif path not in self._open_paths:
            await _check_schema(scope)
            await self._identify(scope, headers.get(b"authorization"))
        limit = self._limits.of(path)
        declared = headers.get(b"content-length")
        check_length(declared.decode("latin-1") if declared else None, limit)
        return limit

    async def _identify(self, scope: Scope, authorization: bytes | None) -> None:
        callers: Callers = scope["app"].state.callers
        remember(scope, await callers.identify(authorization.decode("latin-1") if authorization else None))


async def _check_schema(scope: Scope) -> None:
    watch: SchemaWatch = scope["app"].state.schema_watch
    found = await watch.problems()
    if found:
        raise Unavailable("; ".join(found), code="schema_mismatch", retry_after_s=problems.RETRY_AFTER_S)


def is_head(request: Request) -> bool:
    """The gate makes a GET of each HEAD; a route for which the body is work may leave it out."""
    return bool(request.scope.get(_HEAD))


def bodiless(send: Send) -> Send:
    """Sends the head, and an empty body with it; what comes after is for nobody."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return sending


def takes(dependant: Dependant, wanted: Callable[[Any], bool]) -> bool:
    """True when a dependency whose callable satisfies `wanted` is somewhere in the tree."""
    return any(wanted(part.call) or takes(part, wanted) for part in dependant.dependencies)


def api_routes(router: APIRouter | FastAPI) -> list[tuple[str, APIRoute]]:
    """Every route with its full path, through included routers."""
    return [
        (context.path or "", context.original_route)
        for context in iter_route_contexts(router.routes)
        if isinstance(context.original_route, APIRoute)
    ]


def names_scope(route: APIRoute) -> bool:
    return takes(route.dependant, lambda call: getattr(call, "__name__", "") == "caller_with_scope")


def takes_key(route: APIRoute) -> bool:
    return takes(route.dependant, lambda call: call in (once, once_streamed))


def _check_routes(router: APIRouter, prefix: str, signed: str | None) -> None:
    for path, route in api_routes(router):
        if signed is not None and f"{prefix}{path}".startswith(signed):
            if route.methods != {"GET"}:
                raise Misconfigured(f"{path} is asked for without a key: it may only look")
        elif not names_scope(route):
            raise Misconfigured(f"{path} names no scope: add a dependency on require(…)")
        if "POST" in (route.methods or ()) and not takes_key(route):
            raise Misconfigured(f"POST {path} takes no idempotency key: add a parameter of type Idempotent")
        if route.body_field is not None and not isinstance(route, JsonRoute):
            raise Misconfigured(f"{path} reads JSON as FastAPI does: make its router with route_class=JsonRoute")


def _metrics_router(scrape: Scrape | None, *, keyed: bool) -> APIRouter:
    router = APIRouter(tags=["health"], dependencies=[Depends(require("metrics:read"))] if keyed else [])

    @router.get(METRICS_PATH, summary="Metrics for Prometheus", response_class=Response, responses=_METRICS)
    async def show_metrics(request: Request) -> Response:
        if scrape is not None:
            await scrape(get_resources(request))
        return metrics.exposition()

    return router


async def _replayed(_: Request, replay: Exception) -> Response:
    assert isinstance(replay, Replay)
    return replay.response


def _document(app: FastAPI, signed: str | None) -> None:
    """Say in the OpenAPI that callers are API keys, but for what a signed URL opens, and that a POST may have a key of
    its own; once.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = plain()
        publish_whole(document, api_routes(app))
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["api_key"] = {"type": "http", "scheme": "bearer", "bearerFormat": "hf_ and 43 characters"}
        problems.publish_problems(document)
        document["security"] = [{"api_key": []}]
        for path, operations in document.get("paths", {}).items():
            if signed is not None and path.startswith(signed):
                operations["get"]["security"] = []
            if "post" in operations:
                operations["post"].setdefault("parameters", []).append(_KEY_PARAMETER)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
