"""`DurableTasks` in an app: async and sync routes, inside and outside of a Tx, with errors on either side of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson
import pytest
from fastapi import FastAPI, HTTPException

from shared.db.sql import Statement
from shared.runtime import problems
from shared.runtime.resources import open_resources
from shared.runtime.tasks import DurableTasks, RequestTx
from shared.transport.durable import NotDurable, durable
from tests.integration.http.places import Place, client_of, place

__all__ = ["place"]
ROW = Statement(
    "row", "INSERT INTO dedup (scope, key, fingerprint, created_at, expires_at) VALUES ('t', :key, '', 0, 1)"
)


@durable(task="lab.note", queue="lab")
async def note(word: str, times: int = 1) -> None: ...


async def forgotten(word: str) -> None: ...


def add_late_routes(app: FastAPI) -> None:
    """Tasks that are added when a block has ended, or is about to."""

    @app.post("/afterwards")
    async def afterwards(tasks: DurableTasks) -> None:
        over = asyncio.Event()

        async def from_a_task() -> None:
            await over.wait()
            tasks.add_task(note, "afterwards")

        async with app.state.resources.tx():
            started = asyncio.create_task(from_a_task())  # with this block's context, which outlives it
        over.set()
        await started

    @app.post("/last")
    async def last(tasks: DurableTasks) -> None:
        async def one_more() -> None:
            tasks.add_task(note, "last")

        async with app.state.resources.tx() as tx:
            tasks.add_task(note, "first")
            tx.before_commit(one_more)


def make_app(place: Place, seen: list[str]) -> FastAPI:  # noqa: C901 - one small route beside the other
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(place.settings) as app.state.resources:
            yield

    app = FastAPI(lifespan=lifespan)
    problems.install(app)

    @app.post("/async")
    async def in_async(tasks: DurableTasks) -> list[str]:
        seen.append(tasks.add_task(note, "a", times=2))
        seen.append(tasks.add_task(note, word="b"))
        return seen

    @app.post("/def")
    def in_def(tasks: DurableTasks) -> list[str]:
        seen.append(tasks.add_task(note, "a"))
        return seen

    @app.post("/refused")
    async def refused(tasks: DurableTasks) -> None:
        tasks.add_task(note, "a")
        raise HTTPException(409)

    @app.post("/broken")
    def broken(tasks: DurableTasks) -> None:
        tasks.add_task(note, "a")
        raise LookupError

    @app.post("/unregistered")
    async def unregistered(tasks: DurableTasks) -> None:
        tasks.add_task(note, "a")
        tasks.add_task(forgotten, "b")

    @app.post("/joined/{key}")
    async def joined(key: str, tasks: DurableTasks, tx: RequestTx) -> None:  # the Tx ends first, and still has them
        await tx.fetch(ROW, {"key": key})
        tasks.add_task(note, key)

    @app.post("/joined-def/{key}")
    def joined_def(key: str, tx: RequestTx, tasks: DurableTasks) -> None:
        tasks.add_task(note, key)
        if key == "bad":
            raise HTTPException(409)

    @app.post("/block")
    async def block(tasks: DurableTasks) -> None:
        async with app.state.resources.tx() as tx:
            await tx.fetch(ROW, {"key": "block"})
            tasks.add_task(note, "inside")
        (count,) = await place.rows("SELECT count(*) AS n FROM job")
        assert count["n"] == 1, "it commits with its block"
        tasks.add_task(note, "outside")

    @app.post("/undone")
    async def undone(tasks: DurableTasks) -> None:
        try:
            async with app.state.resources.tx():
                tasks.add_task(note, "inside")
                raise LookupError  # noqa: TRY301 - what it stands for would be deeper
        except LookupError:
            tasks.add_task(note, "outside")

    add_late_routes(app)
    return app


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
async def shop(place: Place, seen: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(place, seen)) as client:
        yield client


async def words(place: Place) -> list[str]:
    rows = await place.rows("SELECT id, args FROM job ORDER BY id")
    return [orjson.loads(row["args"])["word"] for row in rows]


async def test_what_was_added_is_there_when_the_answer_is(place: Place, shop: httpx.AsyncClient) -> None:
    ids = (await shop.post("/async")).json()
    rows = await place.rows("SELECT id, task, queue, tenant, state, args FROM job ORDER BY id")
    assert [row["id"] for row in rows] == sorted(ids)
    assert {(row["task"], row["queue"], row["tenant"], row["state"]) for row in rows} == {
        ("lab.note", "lab", "default", "ready")
    }
    assert sorted(orjson.loads(row["args"])["times"] for row in rows) == [1, 2]
    assert (await shop.post("/def")).status_code == 200
    assert sorted(await words(place)) == ["a", "a", "b"]
    assert (await place.rows("SELECT sum(accepted) AS n FROM job_tally"))[0]["n"] == 3


async def test_a_route_that_raises_enqueues_nothing(place: Place, shop: httpx.AsyncClient) -> None:
    assert (await shop.post("/refused")).status_code == 409
    with pytest.raises(LookupError):
        await shop.post("/broken")
    with pytest.raises(NotDurable, match="forgotten is not durable"):
        await shop.post("/unregistered")
    assert await words(place) == []


async def test_with_a_transaction_of_the_request_they_are_one(place: Place, shop: httpx.AsyncClient) -> None:
    assert (await shop.post("/joined/one")).status_code == 200
    with pytest.raises(Exception, match=r"(?i)unique"):
        await shop.post("/joined/one")  # its row is there: neither a second row nor a second job
    assert await words(place) == ["one"]
    assert (await shop.post("/joined-def/good")).status_code == 200
    assert (await shop.post("/joined-def/bad")).status_code == 409
    assert await words(place) == ["one", "good"]


async def test_a_block_takes_what_was_added_in_it(place: Place, shop: httpx.AsyncClient) -> None:
    assert (await shop.post("/block")).status_code == 200
    assert await words(place) == ["inside", "outside"]


async def test_a_block_that_is_over_takes_nothing_more(place: Place, shop: httpx.AsyncClient) -> None:
    assert (await shop.post("/afterwards")).status_code == 200
    assert await words(place) == ["afterwards"]
    assert (await shop.post("/last")).status_code == 200
    assert await words(place) == ["afterwards", "first", "last"]


async def test_a_block_that_rolls_back_takes_its_tasks_along(place: Place, shop: httpx.AsyncClient) -> None:
    assert (await shop.post("/undone")).status_code == 200
    assert await words(place) == ["outside"]


@pytest.mark.parametrize("path", ["/async", "/joined/one"])
async def test_a_commit_that_fails_promises_nothing(place: Place, path: str) -> None:
    transport_app = make_app(place, [])
    async with transport_app.router.lifespan_context(transport_app):
        transport = httpx.ASGITransport(app=transport_app, raise_app_exceptions=False)
        async with place.database.begin() as connection:
            await connection.exec_driver_sql("DROP TABLE job_tally")
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            assert (await client.post(path)).status_code == 500
    assert await words(place) == []
    assert await place.rows("SELECT key FROM dedup") == []
