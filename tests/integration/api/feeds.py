"""A feed's server, told what to answer; and one sync as a worker runs it, `python -m … ADDRESS_OF_THE_DATABASE …`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import taskiq_fastapi
from aiohttp import web
from pydantic import SecretStr

from services.api.app import create_app
from services.api.settings import ApiSettings
from services.api.tasks import TASKS
from shared.contracts.commands.api import COMMANDS, SyncFeed
from shared.db.engine import Database
from shared.db.tx import open_tx
from shared.kernel import faultpoints
from shared.kernel.ids import new_id
from shared.kernel.settings import CoreSettings
from shared.ledger.states import Transition
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import born
from shared.testing.dispatching import dispatch_due
from shared.transport.broker import HoldfastBroker
from shared.transport.enqueue import enqueue
from shared.transport.execution import Executor


def item(name: str, version: int = 1, **data: Any) -> dict[str, Any]:
    return {"id": name, "version": version, "data": data}


@dataclass
class Feed:
    """`pages`: cursor → (items, next cursor). Its ETag is `version`; asked with that one, it answers 304."""

    port: int = 0
    version: str = '"1"'
    pages: dict[str, tuple[list[Any], str | None]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # cursor, If-None-Match
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None  # instead of all that

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/feed?of=things"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        cursor, condition = request.query.get("cursor", ""), request.headers.get("If-None-Match")
        self.asked.append((cursor, condition))
        if self.answer is not None:
            return await self.answer(request)
        if condition == self.version:
            return web.Response(status=304, headers={"ETag": self.version})
        items, following = self.pages[cursor]
        page = orjson.dumps({"items": items, "next_cursor": following})
        return web.Response(body=page, content_type="application/json", headers={"ETag": self.version})


async def run_sync(
    core: CoreSettings, api: ApiSettings, database: Database, run_at: int | None = None
) -> tuple[str, Transition | None]:
    """Accept, dispatch, claim and run one sync; the job's id, and what is to be recorded if it has not been."""
    async with open_tx(database) as tx:
        job = await enqueue(tx, SyncFeed(), tenant="system", run_at=run_at)
    now_us, incarnation = database.clock.now_us(), new_id("inc")
    await born(database, incarnation, queue="api", role="test", host="h", pid=1, capacity=1, now_us=now_us)
    await dispatch_due(database, "api", now_us + 1, 10)
    (claimed,) = await claim(database, [job], incarnation, now_us)
    broker = HoldfastBroker(core, "api", COMMANDS).bind(TASKS)
    app = create_app(core, api)
    async with app.router.lifespan_context(app):
        taskiq_fastapi.populate_dependency_context(broker, app)
        return job, await Executor(broker, app.state.resources.database, lambda _: None, 1.0).run(claimed)


def core_settings(database_url: str, redis_url: str, folder: Path) -> CoreSettings:
    return CoreSettings(
        database_url=database_url, redis_url=SecretStr(redis_url), state_dir=folder, egress_allow=("127.0.0.0/8",)
    )


async def main(database_url: str, redis_url: str, folder: str, feed_url: str, fault_points: str) -> None:
    faultpoints.arm(fault_points)
    database = Database(database_url, tx_cap_s=15)
    await database.open()
    core = core_settings(database_url, redis_url, Path(folder))
    await run_sync(core, ApiSettings(sync_url=feed_url), database)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
