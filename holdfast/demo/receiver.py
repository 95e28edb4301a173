"""The demo's receiver: a real HTTP server that checks every signature with the official `standardwebhooks` package.

`/photo` and `/load` answer 200; `/flaky` fails the first two times that it sees an id; `/broken` fails until healed.
"""

import asyncio
from collections import Counter, defaultdict

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

LOAD_DELAY_S = 0.1  # so that deliveries are in flight when the worker is killed


class Receiver:
    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.seen: dict[str, Counter[str]] = defaultdict(Counter)  # path → id → how often, verified
        self.bodies: dict[str, bytes] = {}
        self.forged = 0
        self.healed = False
        self.arrived = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{path}", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    @property
    def verified(self) -> int:
        return sum(sum(ids.values()) for ids in self.seen.values())

    async def _take(self, request: web.Request) -> web.Response:
        path, body = request.match_info["path"], await request.read()
        try:
            Webhook(self.secrets[path]).verify(body, dict(request.headers))
        except (WebhookVerificationError, KeyError):
            self.forged += 1
            return web.Response(status=401)
        event_id = request.headers["webhook-id"]
        self.seen[path][event_id] += 1
        self.bodies[event_id] = body
        self.arrived.set()
        if path == "load":
            await asyncio.sleep(LOAD_DELAY_S)
        failing = (path == "flaky" and self.seen[path][event_id] <= 2) or (path == "broken" and not self.healed)
        return web.Response(status=500 if failing else 200, text="not yet" if failing else "thanks")
