"""`ShadowTasks`: tasks run as BackgroundTasks run them, and what does not end well stays counted, within a bound."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, HTTPException

from holdfast.ledger import run_shadow
from shared.ledger import store_shadow
from shared.runtime.resources import open_resources
from shared.runtime.shadow import ShadowTasks
from tests.integration.http.places import Place, client_of, place

__all__ = ["place"]


class Shop:
    def __init__(self, place: Place) -> None:
        self.place = place
        self.done: list[str] = []
        self.blind = False
        self.seen: list[int] = []  # the shadows that there were while a task ran
        self.app = FastAPI(lifespan=self.lifespan)
        self.app.post("/{what}")(self.order)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(self.place.settings) as app.state.resources:
            yield

    async def order(self, what: str, tasks: ShadowTasks) -> None:
        tasks.add_task(self.counted, what)
        tasks.add_task(self.sync, word=what)
        if what == "refused":
            raise HTTPException(409)

    async def counted(self, what: str) -> None:
        if not self.blind:
            self.seen.append(len(await self.place.rows("SELECT id FROM shadow_task")))
        if what == "bad":
            raise LookupError("no such address")
        self.done.append(what)

    def sync(self, word: str) -> None:
        self.done.append(f"sync {word}")


@pytest.fixture
def shop(place: Place) -> Shop:
    return Shop(place)


async def test_a_task_has_its_shadow_while_it_runs_and_none_afterwards(place: Place, shop: Shop) -> None:
    async with client_of(shop.app) as client:
        assert (await client.post("/good")).status_code == 200
        assert (await client.post("/refused")).status_code == 409
    assert shop.done == ["good", "sync good"]
    assert shop.seen == [2]
    assert await place.rows("SELECT id FROM shadow_task") == []


async def test_what_fails_is_told_and_what_came_after_it_is_lost(place: Place, shop: Shop) -> None:
    """Starlette runs nothing after a task that raised: the shadow of the next one stays."""
    async with client_of(shop.app) as client:
        with pytest.raises(LookupError):
            await client.post("/bad")
    report = await run_shadow(place.database.url, 0)
    assert (report["lost"], report["failed"]) == (1, 1)
    told = {task["end"]: (task["function"].rpartition(".")[2], task["error"]) for task in report["tasks"]}
    assert told == {"failed": ("counted", "LookupError: no such address"), "lost": ("sync", None)}
    assert (await run_shadow(place.database.url, 3600))["lost"] == 0
    assert (await run_shadow(place.database.url, 0, clear=True))["cleared"] == 2
    assert (await run_shadow(place.database.url, 0))["tasks"] == []


async def test_there_is_a_bound_and_past_it_tasks_run_all_the_same(
    place: Place, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_shadow, "SHADOWS_MOST", 0)
    async with client_of(shop.app) as client:
        await client.post("/good")
    assert (shop.done, shop.seen) == (["good", "sync good"], [0])


async def test_a_database_that_is_away_costs_the_count_only(place: Place, shop: Shop) -> None:
    async with client_of(shop.app) as client:
        async with place.database.begin() as connection:
            await connection.exec_driver_sql("ALTER TABLE shadow_task RENAME TO gone")
        shop.blind = True
        assert (await client.post("/good")).status_code == 200
    assert shop.done == ["good", "sync good"]
