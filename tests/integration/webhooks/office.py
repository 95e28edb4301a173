"""The webhooks service on a real database and a real Redis, with a receiver on loopback, and workers run by hand.

`Office.work()` is what relay and worker do together, one pass at a time: dispatch what is due, claim it, run the
handlers through the real Executor with the app's own dependencies, record how they ended.
"""

import asyncio
import itertools
import os
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import taskiq_fastapi
from aiohttp import web
from fastapi import FastAPI
from pydantic import SecretStr
from standardwebhooks import Webhook

from services.webhooks.app import create_app
from services.webhooks.schema import OWNER
from services.webhooks.settings import WebhooksSettings
from services.webhooks.tasks import TASKS
from shared.contracts.command import Command
from shared.contracts.commands.webhooks import COMMANDS
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.sql import Statement
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from shared.kernel.settings import CoreSettings
from shared.ledger.schema import LEDGER
from shared.ledger.store_claim import claim
from shared.ledger.store_dispatch import dispatched
from shared.ledger.store_incarnation import born
from shared.ledger.store_record import record
from shared.runtime.callers import create_key
from shared.runtime.resources import Resources
from shared.testing.dispatching import dispatch_due
from shared.testing.servers import Valkey
from shared.transport.broker import HoldfastBroker
from shared.transport.enqueue import enqueue
from shared.transport.execution import Executor
from tests.integration.webhooks.receivers import http_receiver

MASTER_KEY = urlsafe_b64encode(os.urandom(32)).decode()


@dataclass
class Letter:
    """One request as the receiver saw it."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Any:
        """The payload, as the official package reads it; it raises when the signature is not ours."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Answers with `replies` in turn, then with 204 for ever; at `/bad` always with 500."""

    port: int = 0
    letters: list[Letter] = field(default_factory=list)
    replies: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    take: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None  # instead of all that

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def reply(self, status: int, times: int = 1, *, headers: dict[str, str] | None = None, body: str = "") -> None:
        self.replies += [(status, headers or {}, body)] * times

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.take is not None:
            return await self.take(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.letters.append(Letter(request.path_qs, headers, await request.read()))
        if request.path == "/bad":
            return web.Response(status=500)
        status, extra, body = self.replies.pop(0) if self.replies else (204, {}, "")
        return web.Response(status=status, headers=extra, text=body if status != 204 else None)


@dataclass
class Office:
    app: FastAPI
    broker: HoldfastBroker
    executor: Executor
    resources: Resources
    client: httpx.AsyncClient
    receiver: Receiver
    incarnation: str

    @property
    def database(self) -> Database:
        return self.resources.database

    async def key(self, *scopes: str, tenant: str = "acme") -> dict[str, str]:
        """Headers of a caller."""
        async with open_tx(self.database) as tx:
            key = (await create_key(tx, name="test", tenant=tenant, scopes=scopes or ("*",)))[1]
        return {"Authorization": f"Bearer {key}"}

    async def endpoint(self, *types: str, **given: Any) -> dict[str, Any]:
        body = {"url": self.receiver.url(), "event_types": list(types) or ["*"], **given}
        made: dict[str, Any] = await self.ok(self.client.post("/v1/webhooks/endpoints", json=body), 201)
        return made

    async def event(self, event_type: str = "a.b", data: Any = None, **headers: str) -> dict[str, Any]:
        body = {"type": event_type, "data": {"n": 1} if data is None else data}
        accepted: dict[str, Any] = await self.ok(
            self.client.post("/v1/webhooks/events", json=body, headers=headers), 202
        )
        return accepted

    async def delivery(self, event: dict[str, Any]) -> dict[str, Any]:
        """The one delivery of an event, with its attempts."""
        found = await self.ok(self.client.get("/v1/webhooks/deliveries", params={"event_id": event["id"]}))
        (line,) = found["items"]
        shown: dict[str, Any] = await self.ok(self.client.get(f"/v1/webhooks/deliveries/{line['id']}"))
        return shown

    async def ok(self, request: Awaitable[httpx.Response], status: int = 200) -> Any:
        response = await request
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    async def enqueue(self, command: Command, tenant: str = "acme") -> str:
        async with self.resources.tx() as tx:
            return await enqueue(tx, command, tenant=tenant)

    async def work(self, *, wait_s: float = 1.0) -> int:
        """Until nothing is due within `wait_s`; the number of passes."""
        for done in itertools.count():
            waiting = "SELECT min(run_at) AS due FROM job WHERE queue = 'webhooks' AND state = 'ready'"
            due_us = (await self.rows(waiting))[0]["due"]
            if due_us is None or due_us > self.database.clock.now_us() + wait_s * 1e6:
                return done
            await asyncio.sleep(max(0.0, (due_us - self.database.clock.now_us()) / 1e6))
            await self.work_once()
        raise AssertionError

    async def work_once(self) -> None:
        now_us = self.database.clock.now_us()
        await dispatch_due(self.database, "webhooks", now_us, 1_000)
        picked = await dispatched(self.database, "webhooks", 1_000)
        claims = await claim(self.database, [row["id"] for row in picked], self.incarnation, now_us)
        ended = await asyncio.gather(*(self.executor.run(held) for held in claims))
        transitions = [transition for transition in ended if transition is not None]
        async with self.database.transaction() as connection:
            found = await record(connection, transitions, sqlite=self.database.dialect == "sqlite")
        assert set(found) <= {"recorded"}

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.fetch(Statement("test", sql), values)]

    async def run(self, sql: str, **values: Any) -> None:
        async with self.database.transaction() as connection:
            await connection.fetch(Statement("test", sql), values)


@asynccontextmanager
async def open_office(
    database_url: str, redis_url: str, folder: Any, *, allow: tuple[str, ...] = ("127.0.0.1/32",), **webhooks: Any
) -> AsyncIterator[Office]:
    settings = CoreSettings(
        database_url=database_url, redis_url=SecretStr(redis_url), state_dir=folder,
        master_key=SecretStr(MASTER_KEY), egress_allow=allow, db_pool=4, lease_s=120.0,
    )  # fmt: skip
    app = create_app(settings, WebhooksSettings(**webhooks))
    broker = HoldfastBroker(settings, "webhooks", COMMANDS).bind(TASKS)
    receiver = Receiver()
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        http_receiver(receiver.handle) as receiver.port,
        httpx.AsyncClient(transport=transport, base_url="http://holdfast") as client,
    ):
        taskiq_fastapi.populate_dependency_context(broker, app)
        resources: Resources = app.state.resources
        executor = Executor(broker, resources.database, lambda _: None, 900)
        office = Office(app, broker, executor, resources, client, receiver, new_id("inc"))
        now_us = office.database.clock.now_us()
        await born(
            office.database, office.incarnation, queue="webhooks", role="test", host="h", pid=1, capacity=9,
            now_us=now_us,
        )  # fmt: skip
        client.headers.update(await office.key())
        yield office


async def prepare(database_url: str) -> None:
    database = Database(database_url, pool=2, tx_cap_s=15)
    await database.open()
    await migrate(database, [LEDGER, OWNER])
    await database.close()


@pytest.fixture
async def office(database_url: str, valkey: Valkey, tmp_path: Path) -> AsyncIterator[Office]:
    await prepare(database_url)
    async with open_office(database_url, valkey.url, tmp_path) as opened:
        yield opened
