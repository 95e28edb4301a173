"""A fresh, migrated database for each test, on real servers that one run starts once; and a client of an app."""

import atexit
import functools
import itertools
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from shared.contracts.commands import QUEUES
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.sql import Statement
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from shared.kernel.settings import CoreSettings
from shared.ledger import states
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import born
from shared.ledger.store_record import record
from shared.runtime.callers import create_key
from shared.runtime.schema import owners
from shared.testing.dispatching import dispatch_due
from shared.testing.servers import Postgres, Valkey

_numbers = itertools.count()


@dataclass
class Place:
    settings: CoreSettings
    database: Database

    async def key(self, *scopes: str, tenant: str = "acme") -> str:
        async with open_tx(self.database) as tx:
            return (await create_key(tx, name="test", tenant=tenant, scopes=scopes or ("*",)))[1]

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.fetch(Statement("test", sql), values)]

    async def end(self, ids: Iterable[str], outcome: str = "dead", *, place: str = "here") -> None:
        """Take jobs the whole way: dispatched, claimed, recorded as `dead`, `completed` or left `running`."""
        incarnation, now_us = new_id("inc"), self.database.clock.now_us()
        wanted = list(ids)
        await born(self.database, incarnation, queue="api", role="test", host="h", pid=1, capacity=9, now_us=now_us)
        for queue in QUEUES:
            await dispatch_due(self.database, queue, now_us + 1)
        claims = await claim(self.database, wanted, incarnation, now_us)
        assert len(claims) == len(wanted)
        if outcome == "running":
            return
        if outcome == "completed":
            ended = [states.completed(c, now_us, started_at=now_us, result='{"ok":true}') for c in claims]
        else:
            failure = states.Failure("Boom", "it broke", place, "Traceback: …")
            ended = [states.dead(c, now_us, failure, started_at=now_us) for c in claims]
        async with self.database.transaction() as connection:
            found = await record(connection, ended, sqlite=self.database.dialect == "sqlite")
        assert set(found) == {"recorded"}


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-http-", dir="/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def valkey() -> Valkey:
    server = Valkey(_folder() / "valkey", append_only=False).start()
    atexit.register(server.kill)
    return server


@functools.cache
def postgres() -> Postgres:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its wheel looks for XDG_RUNTIME_DIR, which it does not need
        server = Postgres(_folder() / "postgres", options=["-c", "fsync=off"]).start()
    atexit.register(server.kill)
    return server


async def _migrated(url: str) -> None:
    database = Database(url, pool=2, tx_cap_s=15)
    await database.open()
    await migrate(database, owners())
    await database.close()


_ready: dict[str, str] = {}


async def _fresh_sqlite(folder: Path) -> str:
    template = _folder() / "template.db"
    if "sqlite" not in _ready:
        await _migrated(f"sqlite:///{template}")
        _ready["sqlite"] = "yes"
    shutil.copy(template, folder / "ledger.db")
    return f"sqlite:///{folder / 'ledger.db'}"


async def _fresh_postgres() -> str:
    url = postgres().url
    name = f"test_{next(_numbers)}"
    admin = await asyncpg.connect(url)
    if "postgres" not in _ready:
        await admin.execute("CREATE DATABASE template_test")
        await _migrated(url.rpartition("/")[0] + "/template_test")
        _ready["postgres"] = "yes"
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template_test")
    await admin.close()
    return f"{url.rpartition('/')[0]}/{name}"


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    url = await _fresh_sqlite(tmp_path) if request.param == "sqlite" else await _fresh_postgres()
    settings = CoreSettings(database_url=url, redis_url=valkey().url, state_dir=tmp_path)
    database = Database(url, pool=4, tx_cap_s=15)
    await database.open()
    yield Place(settings, database)
    await database.close()


# For what does not depend on the database.
on_one_database = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


@asynccontextmanager
async def client_of(app: FastAPI, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://holdfast", headers=headers) as client,
    ):
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def expect_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The RFC 9457 document of an answer that must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code
    assert document["type"] == f"urn:holdfast:problem:{code}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def pointers(document: dict[str, Any]) -> Sequence[str]:
    return [error["pointer"] for error in document["errors"]]
