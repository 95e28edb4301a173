"""A schema of newer code: apps say so and serve nothing, workers and relays wait; all go on when it is put back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from services.api.app import create_app
from services.api.schema import OWNER
from services.api.settings import ApiSettings
from shared.db.engine import Database
from shared.ledger.schema import LEDGER
from shared.runtime import schema
from shared.runtime.heartbeat import READY
from shared.runtime.migrate import upgrade
from shared.runtime.resources import open_resources
from shared.testing.lab import Noop
from shared.testing.servers import Valkey
from tests.faults.rig import Rig
from tests.integration.http.places import Place, client_of, expect_problem, place

__all__ = ["place"]
NEWER = "0099"
HEADS = {each.name: f"{each.newest:04d}" for each in (LEDGER, OWNER)}
HEAD = HEADS["ledger"]


async def set_version(database: Database, owner: str, version: str) -> None:
    async with database.begin() as connection:
        await connection.execute(text(f"UPDATE {owner}_version SET version_num = :version"), {"version": version})


async def answering(client: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
    """The first answer with that status; the app looks at the schema every now and then, and asking makes it look."""
    async with asyncio.timeout(10):
        while (answer := await client.get(path)).status_code != status:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)
    return answer


@pytest.mark.parametrize("owner", ["ledger", "api"])
async def test_an_app_says_so_and_serves_nothing(place: Place, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "FRESH_S", 0.02)
    async with client_of(create_app(place.settings, ApiSettings()), await place.key()) as client:
        assert (await client.get("/readyz")).json()["checks"]["schema"] == "ok"
        assert (await client.get("/v1/jobs")).status_code == 200
        await set_version(place.database, owner, NEWER)
        ready = (await answering(client, "/readyz", 503)).json()
        assert ready["status"] == "not_ready"
        (missing,) = ready["missing"]
        assert missing["check"] == "schema"
        assert f"the {owner} schema is at {NEWER}" in missing["problem"]
        problem = expect_problem(await answering(client, "/v1/jobs", 503), 503, "schema_mismatch")
        assert NEWER in problem["detail"]
        refused = await client.post("/v1/users", json={"email": "ada@example.com", "name": "Ada"})
        assert refused.headers["retry-after"]
        assert await place.rows("SELECT id FROM job") == []
        assert (await client.get("/healthz")).status_code == 200, "a restart would not bring the schema"
        await set_version(place.database, owner, HEADS[owner])
        await answering(client, "/readyz", 200)
        assert (await client.get("/v1/jobs")).status_code == 200


@pytest.fixture
async def rig(tmp_path: Path, valkey: Valkey) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, f"sqlite:///{tmp_path / 'ledger.db'}", valkey, None)
    try:
        await upgrade(made.url)
        async with open_resources(made.settings) as resources:
            made.resources = resources
            yield made
            made.stop()
    finally:
        made.stop()


def shown_ready(rig: Rig) -> list[bool]:
    """What a rollout waits for: the worker's file, and the relay's."""
    return [(rig.folder / state / READY).exists() for state in ("state-0", "state-relay")]


async def until_shown(rig: Rig, wanted: list[bool]) -> None:
    async with asyncio.timeout(20):
        while shown_ready(rig) != wanted:  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.05)


async def test_workers_and_relays_refuse_work_until_it_is_back(rig: Rig) -> None:
    for state in ("state-0", "state-relay"):  # of a container before, in the same pod
        (rig.folder / state).mkdir(exist_ok=True)
        (rig.folder / state / READY).touch()
    await set_version(rig.database, "ledger", NEWER)
    rig.relay()
    rig.worker()
    (job_id,) = await rig.enqueue(Noop())
    await rig.until_logged("relay", "schema_refused", 30)
    await rig.until_logged("w", "schema_refused", 30)
    assert rig.logged("w", NEWER) >= 1
    assert shown_ready(rig) == [False, False]
    assert await rig.rows("SELECT state FROM job WHERE id = :id", id=job_id) == [("ready",)]
    assert await rig.rows("SELECT id FROM incarnation") == []
    await set_version(rig.database, "ledger", HEAD)
    assert await rig.settled() == {"completed": 1}
    await until_shown(rig, [True, True])


async def test_those_that_run_take_no_new_work_under_a_schema_that_left_them_behind(rig: Rig) -> None:
    rig.relay()
    rig.worker()
    (first,) = await rig.enqueue(Noop())
    assert await rig.settled() == {"completed": 1}
    await until_shown(rig, [True, True])
    await set_version(rig.database, "ledger", NEWER)
    await rig.until_logged("relay", "schema_refused", 30)
    await rig.until_logged("w", "schema_refused", 30)
    await until_shown(rig, [False, False])
    (job_id,) = await rig.enqueue(Noop())
    await rig.until_logged("w", "schema_refused", 30)
    assert await rig.rows("SELECT state FROM job WHERE id = :id", id=job_id) == [("ready",)]
    await set_version(rig.database, "ledger", HEAD)
    assert await rig.settled() == {"completed": 2}
    assert first != job_id


async def test_a_newer_schema_that_leaves_this_code_working_changes_nothing(rig: Rig) -> None:
    async with rig.database.begin() as connection:
        await connection.execute(text("UPDATE ledger_version SET version_num = '0099'"))
        await connection.execute(text("UPDATE ledger_floor SET version_num = '0099', oldest_code = 2"))
    await upgrade(rig.url)
    rig.relay()
    rig.worker()
    await rig.enqueue(Noop())
    assert await rig.settled() == {"completed": 1}
    assert await rig.rows("SELECT version_num FROM ledger_version") == [(NEWER,)]
