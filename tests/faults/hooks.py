"""The webhooks service on a rig: its app in this process, its relay and worker as processes, and a receiver."""

import asyncio
import os
import sys
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiohttp import web
from pydantic import SecretStr

from holdfast.supervisor import Role
from services.webhooks.app import create_app
from shared.db.tx import open_tx
from shared.runtime.callers import create_key
from tests.faults.rig import Rig
from tests.integration.webhooks.receivers import http_receiver

QUEUE = "webhooks"
LOOPBACK = "127.0.0.1/32"
_WORKER = (
    sys.executable, "-m", "taskiq", "worker", "services.webhooks.worker:create_broker",
    "--receiver", "shared.transport.receiver:HoldfastReceiver", "--workers", "2", "--max-async-tasks", "20",
    "--no-configure-logging",
)  # fmt: skip


class Hooks:
    """`got`: how often each (path, webhook-id) came; the receiver answers after `takes_s`."""

    def __init__(self, rig: Rig, client: httpx.AsyncClient, port: int, key: str) -> None:
        self.rig = rig
        self.client = client
        self.got: Counter[tuple[str, str]] = Counter()
        self.takes_s = 0.0
        self._port = port
        self._key = key

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        self.got[request.path, request.headers["webhook-id"]] += 1
        await asyncio.sleep(self.takes_s)
        return web.Response(status=204)

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def endpoint(self, path: str, **given: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._port}{path}"
        made: dict[str, Any] = await self.post("/endpoints", **{"url": url, "event_types": ["*"], **given})
        return made

    async def events(self, count: int) -> set[str]:
        return {(await self.post("/events", type="a.b", data={"n": n}))["id"] for n in range(count)}

    def relay(self) -> Role:
        return self.rig.relay(HOLDFAST_QUEUES=QUEUE)

    def worker(self, point: str | None = None) -> Role:
        """An active process and a standby; `point`: where the first one that comes there is killed."""
        env = {"HOLDFAST_MASTER_KEY": self._key, "HOLDFAST_EGRESS_ALLOW": LOOPBACK, "HOLDFAST_QUEUES": QUEUE}
        doom = {"HOLDFAST_FAULT_POINTS": f"{point}@{self.rig.folder}/once"} if point else {}
        return self.rig._start("webhooks", _WORKER, "state-0", {**env, **doom})

    async def links(self) -> int:
        """How many deliveries there are; each has one link and one job."""
        ((jobs,),) = await self.rig.rows("SELECT count(*) FROM job WHERE task = 'webhooks.deliver'")
        ((links,),) = await self.rig.rows("SELECT count(*) FROM webhooks_deliveries")
        assert jobs == links
        return int(jobs)


@asynccontextmanager
async def webhooks(rig: Rig) -> AsyncIterator[Hooks]:
    key = urlsafe_b64encode(os.urandom(32)).decode()
    update = {
        "master_key": SecretStr(key), "egress_allow": (LOOPBACK,), "redis_url": SecretStr(rig.valkey.url),
    }  # fmt: skip
    app = create_app(rig.settings.model_copy(update=update))
    transport = httpx.ASGITransport(app=app)
    made: list[Hooks] = []

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        return await made[0].take(request)

    async with (
        http_receiver(take) as port,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://holdfast/v1/webhooks", timeout=30) as client,
    ):
        async with open_tx(rig.database) as tx:
            caller = (await create_key(tx, name="test", tenant="t", scopes=("*",)))[1]
        client.headers["Authorization"] = f"Bearer {caller}"
        made.append(Hooks(rig, client, port, key))
        yield made[0]
