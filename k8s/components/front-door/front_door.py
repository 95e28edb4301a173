"""One address for the three services, told apart by path: for development and verification, not for production.

Bodies and answers are passed on as they come, so uploads and event streams work. `/healthz` is this process's own;
`/readyz` is ready when all three services are. Refuses every path outside /v1.
"""

import asyncio
import os
from collections.abc import AsyncIterator

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web

PREFIXES = (("/v1/webhooks", "webhooks"), ("/v1/media", "media"), ("/v1", "api"))
SERVICES = ("api", "webhooks", "media")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}
PIECE_BYTES = 65_536


def service_of(path: str) -> str | None:
    """The service whose prefix is the longest that fits whole steps of the path."""
    return next((name for prefix, name in PREFIXES if path == prefix or path.startswith(f"{prefix}/")), None)


def address_of(service: str) -> str:
    """`FRONT_DOOR_API` and so on, or the Service of that name in this namespace."""
    return os.environ.get(f"FRONT_DOOR_{service.upper()}", f"http://{service}")


async def alive(_: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    async def ask(service: str) -> str:
        try:
            timeout = ClientTimeout(total=3)
            async with request.app["client"].get(f"{address_of(service)}/readyz", timeout=timeout) as answer:
                return "ok" if answer.status == 200 else "missing"
        except (ClientError, TimeoutError):
            return "missing"

    checks = dict(zip(SERVICES, await asyncio.gather(*map(ask, SERVICES)), strict=True))
    missing = "missing" in checks.values()
    return web.json_response(
        {"status": "not_ready" if missing else "ready", "checks": checks}, status=503 if missing else 200
    )


async def pass_on(request: web.Request) -> web.StreamResponse:
    service = service_of(request.path)
    if service is None:
        return web.json_response({"title": "nothing is here", "status": 404}, status=404)
    heads = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
    if request.content_length is not None:
        heads.append(("Content-Length", str(request.content_length)))
    url = address_of(service) + request.raw_path
    body = request.content if request.body_exists else None
    try:
        answer = await request.app["client"].request(
            request.method, url, headers=heads, data=body, allow_redirects=False
        )
    except ClientError as error:
        return web.json_response({"title": f"{service} does not answer: {error}", "status": 502}, status=502)
    async with answer:
        return await _hand_back(request, answer)


async def _hand_back(request: web.Request, answer: ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in HOP_BY_HOP - {"content-length"}:
            response.headers.add(name, value)
    await response.prepare(request)
    async for piece in answer.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


async def client_of(app: web.Application) -> AsyncIterator[None]:
    """Answers are passed on as they are, compressed or not; a stream may be silent between two signs of life."""
    timeout = ClientTimeout(total=None, sock_connect=5, sock_read=330)
    connector = TCPConnector(limit=1000)
    async with ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as client:
        app["client"] = client
        yield


def create_app() -> web.Application:
    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(client_of)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_route("*", "/{path:.*}", pass_on)
    return app


if __name__ == "__main__":
    web.run_app(create_app(), port=int(os.environ.get("FRONT_DOOR_PORT", "8080")), access_log=None, print=None)
