"""Reading a feed on, from a real server: pages, crashes between them, 304s, and servers that are not as they should."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from aiohttp import web

from services.api.rhythm import TICK_US, instants
from services.api.settings import ApiSettings
from services.api.store_sync import Item, Position, read_position, write_page
from services.api.upkeep import sweeps
from shared.db.sweep import sweep_all
from shared.kernel.clock import SECOND_US
from shared.ledger.states import Transition
from tests.integration.api.feeds import Feed, core_settings, item, run_sync
from tests.integration.http.places import Place, bearer, on_one_database, valkey
from tests.integration.webhooks.receivers import http_receiver


@pytest.fixture
async def feed() -> AsyncIterator[Feed]:
    served = Feed()
    async with http_receiver(served.handle) as served.port:
        yield served


async def sync(place: Place, feed: Feed, **given: Any) -> tuple[dict[str, Any], Transition | None]:
    """What the job says in the end, and what was left to be recorded."""
    core = core_settings(place.settings.database_url, valkey().url, place.settings.state_dir)
    job, left = await run_sync(core, ApiSettings(**{"sync_url": feed.url, **given}), place.database)
    if left is not None:
        return orjson.loads(left.result) if left.result else {}, left
    (row,) = await place.rows("SELECT state, result FROM job WHERE id = :id", id=job)
    assert row["state"] == "completed"
    return orjson.loads(row["result"]), None


async def stored(place: Place) -> dict[str, tuple[int, Any]]:
    rows = await place.rows("SELECT id, version, data FROM api_synced_items ORDER BY id")
    return {row["id"]: (row["version"], row["data"] and orjson.loads(row["data"])) for row in rows}


def answering(status: int, body: bytes = b"", **headers: str) -> Any:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


LIST = {"": ([item("a"), item("b", n=1)], "p2"), "p2": ([item("c")], "p3"), "p3": ([item("d")], None)}


async def test_a_list_is_read_once_and_asked_for_again_by_its_validator(place: Place, feed: Feed) -> None:
    feed.pages = dict(LIST)
    assert (await sync(place, feed))[0] == {"pages": 3, "items": 4, "more": False}
    assert set(await stored(place)) == {"a", "b", "c", "d"}
    before = await place.rows("SELECT * FROM api_sync")
    feed.asked.clear()
    assert (await sync(place, feed))[0] == {"pages": 0, "items": 0, "more": False}
    assert feed.asked == [("", '"1"')], "one request"
    assert await place.rows("SELECT * FROM api_sync") == before, "and no write"

    feed.version = '"2"'
    feed.pages[""] = ([item("a", 2, new=True), item("b")], "p2")
    feed.pages["p3"] = ([{"id": "d", "version": 2, "deleted": True}, item("e")], None)
    assert (await sync(place, feed))[0] == {"pages": 3, "items": 3, "more": False}
    found = await stored(place)
    assert (found["a"], found["b"], found["d"], found["e"]) == ((2, {"new": True}), (1, {"n": 1}), (2, None), (1, {}))


async def test_a_log_is_read_on_from_its_end(place: Place, feed: Feed) -> None:
    feed.pages = {"": ([item("a")], "1"), "1": ([], "1")}
    await sync(place, feed)
    feed.asked.clear()
    await sync(place, feed)
    assert feed.asked == [("1", '"1"')]
    feed.version, feed.pages["1"], feed.pages["2"] = '"2"', ([item("b"), item("a", 5)], "2"), ([], "2")
    assert (await sync(place, feed))[0] == {"pages": 2, "items": 2, "more": False}
    assert {name: version for name, (version, _) in (await stored(place)).items()} == {"a": 5, "b": 1}


@pytest.mark.parametrize("page", [1, 2])
async def test_one_that_is_killed_between_pages_goes_on_with_the_next(
    place: Place, feed: Feed, tmp_path: Path, page: int
) -> None:
    feed.pages = dict(LIST)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.api.feeds", place.settings.database_url, valkey().url, str(tmp_path),
        feed.url, f"sync.page={page}@{tmp_path / 'once'}",
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    assert len(await stored(place)) == page + 1
    feed.asked.clear()
    result, _ = await sync(place, feed)
    assert [cursor for cursor, _ in feed.asked] == ["p2", "p3"][page - 1 :]
    assert result["items"] == 4 - (page + 1)
    assert set(await stored(place)) == {"a", "b", "c", "d"}
    assert [row["version"] for row in await place.rows("SELECT version FROM api_synced_items")] == [1] * 4


async def test_a_page_that_breaks_off_is_asked_for_again(place: Place, feed: Feed) -> None:
    feed.pages = dict(LIST)
    serve = Feed.handle

    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        if request.query.get("cursor") != "p2":
            feed.answer = None
            feed.asked.pop()
            try:
                return await serve(feed, request)
            finally:
                feed.answer = cut
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"items": [')
        assert request.transport is not None
        request.transport.abort()
        return response

    feed.answer = cut
    _, left = await sync(place, feed)
    assert left is not None
    assert (left.state, left.outcome) == ("ready", "failed")
    assert set(await stored(place)) == {"a", "b"}
    feed.answer = None
    assert (await sync(place, feed))[0]["items"] == 2
    assert set(await stored(place)) == {"a", "b", "c", "d"}


async def test_two_at_once_write_every_page_once(place: Place, feed: Feed) -> None:
    feed.pages = dict(LIST)
    seen = await read_position(place.database, feed.url)
    then = Position(1, "p2")
    items = [Item("a", 1, "{}")]

    async def write(seen: Position) -> int | None:
        async with place.database.transaction() as connection:
            return await write_page(connection, feed.url, "system", seen, then, items, 1)

    assert sorted([await write(seen), await write(seen)], key=str) == [1, None]
    moved = await read_position(place.database, feed.url)
    assert (moved.revision, moved.cursor) == (1, "p2")
    assert sorted([await write(moved), await write(moved)], key=str) == [0, None], "the same version is no news"


@on_one_database
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answering(200, b"<html>"), "malformed"),
        (answering(200, b'{"items": [{"id": 1}]}'), "malformed"),
        (answering(200, b" " * (4 * 1024 * 1024 + 1)), "too_large"),
        (answering(200, b"x", Content_Encoding="gzip"), "compressed"),
        (answering(404), "404"),
        (answering(302, Location="http://127.0.0.1:1/"), "302"),
        (answering(304), "304"),
    ],
)
async def test_what_no_repeat_would_change_is_a_dead_letter(place: Place, feed: Feed, answer: Any, kind: str) -> None:
    feed.answer = answer
    _, left = await sync(place, feed)
    assert left is not None
    assert left.state == "dead"
    assert left.failure is not None
    assert len(feed.asked) == 1
    assert await stored(place) == {}
    assert await place.rows("SELECT * FROM api_sync") == []
    if kind.isdigit():
        assert kind in left.failure.message


@on_one_database
async def test_a_circle_of_cursors_ends(place: Place, feed: Feed) -> None:
    feed.pages = {"": ([item("a")], "p2"), "p2": ([item("b")], "p3"), "p3": ([item("c")], "p2")}
    for _ in range(2):
        feed.asked.clear()
        _, left = await sync(place, feed)
        assert left is not None
        assert left.state == "dead"
        assert "comes back" in (left.failure.message if left.failure else "")
        assert len(feed.asked) <= 3
    feed.pages["p3"] = ([item("c")], None)
    await sync(place, feed)
    assert set(await stored(place)) == {"a", "b", "c"}


@on_one_database
@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_cursor_that_the_feed_has_forgotten_is_begun_again_once(place: Place, feed: Feed, status: int) -> None:
    feed.pages = {"": ([item("a")], "old"), "old": ([], "old")}
    await sync(place, feed)

    async def forgetful(request: web.BaseRequest) -> web.Response:
        if request.query.get("cursor") == "old":
            return web.Response(status=status)
        return web.json_response({"items": [item("a"), item("b")], "next_cursor": None})

    feed.answer = forgetful
    assert (await sync(place, feed))[0] == {"pages": 1, "items": 1, "more": False}
    assert set(await stored(place)) == {"a", "b"}
    feed.answer = answering(status)
    _, left = await sync(place, feed)
    assert left is not None
    assert left.state == "dead"


@on_one_database
@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_list_that_is_begun_again_is_read_to_its_end(place: Place, feed: Feed, status: int) -> None:
    """Its first page has not changed since; a 304 for that one would leave out all that comes after it."""
    pages = {"": (LIST[""][0], "n2"), "n2": LIST["p2"], "p3": LIST["p3"]}

    def breaking(status: int, following: str) -> Any:
        async def answer(request: web.BaseRequest) -> web.Response:
            cursor = request.query.get("cursor", "")
            if cursor == "p2":
                return web.Response(status=status)
            if request.headers.get("If-None-Match") == feed.version:
                return web.Response(status=304)
            items, then = pages[cursor]
            page = {"items": items, "next_cursor": then if cursor else following}
            return web.json_response(page, headers={"ETag": feed.version})

        return answer

    feed.answer = breaking(500, "p2")
    _, left = await sync(place, feed)
    assert left is not None
    assert left.outcome == "failed"
    assert set(await stored(place)) == {"a", "b"}
    feed.answer = breaking(status, "n2")
    assert (await sync(place, feed))[0] == {"pages": 3, "items": 2, "more": False}
    assert set(await stored(place)) == {"a", "b", "c", "d"}
    assert feed.asked[-3:] == [("", None), ("n2", None), ("p3", None)]


@on_one_database
@pytest.mark.parametrize(
    "page",
    [
        {"items": [], "next_cursor": "ü" * 400},
        {"items": [{"id": "a", "version": 1, "data": "DEEP"}], "next_cursor": None},
    ],
)
async def test_a_page_that_cannot_be_gone_on_with_or_kept_is_a_dead_letter(
    place: Place, feed: Feed, page: dict[str, Any]
) -> None:
    body = orjson.dumps(page).replace(b'"DEEP"', b'{"d":' + b'{"d":' * 300 + b"1" + b"}" * 301)
    feed.answer = answering(200, body, Content_Type="application/json")
    _, left = await sync(place, feed)
    assert left is not None
    assert (left.state, await place.rows("SELECT * FROM api_sync")) == ("dead", [])


@on_one_database
async def test_a_feed_without_end_is_left_until_the_next_time(
    place: Place, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def on_and_on(request: web.BaseRequest) -> web.Response:
        number = int(request.query.get("cursor", "0"))
        return web.json_response({"items": [item(f"i{number}")], "next_cursor": str(number + 1)})

    monkeypatch.setattr("services.api.sync.PAGES_MOST", 5)
    feed.answer = on_and_on
    assert (await sync(place, feed))[0] == {"pages": 5, "items": 5, "more": True}
    assert (await sync(place, feed))[0] == {"pages": 5, "items": 5, "more": True}
    assert [cursor for cursor, _ in feed.asked] == ["", *map(str, range(1, 10))]


@on_one_database
@pytest.mark.parametrize(
    ("status", "wish", "least", "most"),
    [
        (429, "40", 39, 41), (503, "7", 6, 8), (500, None, 0, 6), (503, "soon", 0, 6),
        (503, "99999999999", 3590, 3600), (503, "Sat, 31 Jan 2199 11:00:00 GMT", 3590, 3600),
        (503, "Sat, 31 Jan 2026 12:00:30 +99999999999999999", 0, 6),
    ],
)  # fmt: skip
async def test_a_server_that_asks_for_patience_gets_it(
    place: Place, feed: Feed, status: int, wish: str | None, least: float, most: float
) -> None:
    feed.answer = answering(status, **({"Retry_After": wish} if wish else {}))
    before_us = place.database.clock.now_us()
    _, left = await sync(place, feed)
    assert left is not None
    assert (left.state, left.outcome, len(feed.asked)) == ("ready", "failed", 1)
    assert f"the feed answered {status}" in (left.failure.message if left.failure else "")
    assert left.run_at is not None
    assert least <= (left.run_at - before_us) / SECOND_US <= most + 5


@on_one_database
async def test_off_by_default_and_only_where_egress_may_go(place: Place, feed: Feed) -> None:
    result, _ = await sync(place, feed, sync_url="")
    assert "HOLDFAST_API_SYNC_URL" in result["skipped"]
    _, left = await sync(place, feed, sync_url="http://169.254.169.254/latest")
    assert left is not None
    assert left.state == "dead"
    assert "link_local" in (left.failure.message if left.failure else "")
    assert feed.asked == []


async def test_a_tick_makes_the_reads_of_its_quarter_once(place: Place, feed: Feed) -> None:
    """A minute's rhythm, by a tick that comes late; the same tick again makes nothing more."""
    feed.pages = {"": ([item("a")], None)}
    now_us = place.database.clock.now_us()
    tick_us = now_us - now_us % TICK_US
    for _ in range(2):
        core = core_settings(place.settings.database_url, valkey().url, place.settings.state_dir)
        await run_sync(core, ApiSettings(sync_url=feed.url, sync_every="60"), place.database, run_at=tick_us)
    assert [cursor for cursor, _ in feed.asked] == ["", ""], "what has passed is one read"
    rows = await place.rows("SELECT run_at FROM job WHERE state = 'ready' ORDER BY run_at")
    wanted = [at for at in instants("60", "UTC", tick_us) if at > now_us]
    assert [row["run_at"] for row in rows][-len(wanted) :] == wanted
    assert len(wanted) <= len(rows) <= len(wanted) + 1  # a minute may have ended meanwhile


async def test_a_tick_that_is_not_wanted_reads_nothing(place: Place, feed: Feed) -> None:
    now_us = place.database.clock.now_us()
    tick_us = now_us - now_us % TICK_US
    never = "0 0 29 2 *"
    core = core_settings(place.settings.database_url, valkey().url, place.settings.state_dir)
    settings = ApiSettings(sync_url=feed.url, sync_every=never)
    _, left = await run_sync(core, settings, place.database, run_at=tick_us)
    assert left is not None
    assert orjson.loads(left.result or "{}") == {"skipped": f"its rhythm is {never}"}
    assert feed.asked == []


async def test_items_are_listed_to_their_tenant_alone(place: Place, feed: Feed, client: httpx.AsyncClient) -> None:
    feed.pages = {"": ([item("a", n=1), item("b"), item("ü/1"), {"id": "gone", "version": 1, "deleted": True}], None)}
    await sync(place, feed, sync_tenant="acme", sync_token="s3cret")
    first = (await client.get("/v1/synced", params={"limit": 2})).json()
    second = (await client.get("/v1/synced", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [(i["id"], i["version"], i["data"]) for i in first["items"]] == [("a", 1, {"n": 1}), ("b", 1, {})]
    assert [i["id"] for i in second["items"]] == ["ü/1"]
    assert second["next_cursor"] is None
    theirs = await client.get("/v1/synced", headers=bearer(await place.key(tenant="globex")))
    assert theirs.json()["items"] == []


async def test_what_was_deleted_is_forgotten_in_the_end(place: Place, feed: Feed) -> None:
    feed.pages = {"": ([item("a"), {"id": "b", "version": 1, "deleted": True}], None)}
    await sync(place, feed)
    now_us = place.database.clock.now_us()
    for days, left in ((29, {"a", "b"}), (31, {"a"})):
        chosen = sweeps(ApiSettings(), now_us + days * 86_400 * SECOND_US)
        await sweep_all(place.database, chosen, batch=5, budget_s=60)
        assert set(await stored(place)) == left
