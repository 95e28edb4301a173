"""Lanes and pauses over HTTP: whose they are, what they may be called, and that the relay is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from redis.asyncio import Redis

from services.api import lanes as desk
from shared.contracts.commands.api import SendWelcomeEmail
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from shared.ledger import store_limits
from shared.runtime.pages import encode, encode_key
from shared.transport.enqueue import enqueue
from shared.transport.names import wake_channel
from shared.transport.wake import CONFIG
from tests.integration.http.places import Place, bearer, expect_problem, on_one_database, pointers


async def job_in(place: Place, lane: str, tenant: str = "acme") -> str:
    async with open_tx(place.database) as tx:
        return await enqueue(tx, SendWelcomeEmail(user_id="u", email="a@b.cd", name="A"), tenant=tenant, lane=lane)


@asynccontextmanager
async def told(place: Place) -> AsyncIterator[None]:
    """The relay of the queue `api` hears of a change while the block runs, or soon after."""
    redis = Redis.from_url(place.settings.redis_url.get_secret_value())
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(wake_channel("api"))
        while await subscription.get_message(timeout=0.1) is not None:
            pass
        yield
        heard = []
        for _ in range(50):
            message = await subscription.get_message(timeout=0.1)
            heard += [message["data"]] if message else []
            if CONFIG in heard:
                break
        assert CONFIG in heard
    await redis.aclose()


async def test_a_lane_through_its_life(place: Place, client: httpx.AsyncClient) -> None:
    expect_problem(await client.get("/v1/lanes/api/x"), 404, "not_found")
    expect_problem(await client.delete("/v1/lanes/api/x"), 404, "not_found")
    expect_problem(await client.post("/v1/lanes/api/x/resume"), 404, "not_found")
    job = await job_in(place, "x")
    shown = (await client.get("/v1/lanes/api/x")).json()
    free = {
        "queue": "api", "name": "x", "own": False, "concurrency": None, "rate_per_s": None, "burst": 1,
        "ordered": False, "paused": False, "paused_at": None, "waiting": 1, "waiting_is_more": False, "under_way": 0,
    }  # fmt: skip
    assert shown == free
    async with told(place):
        answer = await client.put("/v1/lanes/api/x", json={"concurrency": 3, "rate_per_s": 2, "burst": 5})
    limits: dict[str, Any] = {"own": True, "concurrency": 3, "rate_per_s": 2.0, "burst": 5}
    assert (answer.status_code, answer.json()) == (200, {**free, **limits})
    async with told(place):
        paused = (await client.post("/v1/lanes/api/x/pause")).json()
    assert paused["paused"] is True
    assert paused["paused_at"] is not None
    assert (await client.post("/v1/lanes/api/x/pause")).json() == paused
    waiting_for = (await client.get(f"/v1/jobs/{job}")).json()["waiting_for"]
    assert waiting_for == {"kind": "paused", "what": "lane", "since": paused["paused_at"]}
    async with told(place):
        assert (await client.delete("/v1/lanes/api/x")).status_code == 204
    assert (await client.get("/v1/lanes/api/x")).json() == {**free, "paused": True, "paused_at": paused["paused_at"]}
    async with told(place):
        assert (await client.post("/v1/lanes/api/x/resume")).json() == free
    async with told(place):
        assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code == 202
    expect_problem(await client.get("/v1/lanes/api/x"), 404, "not_found")


async def test_lanes_are_listed_over_queues_by_name(place: Place, client: httpx.AsyncClient) -> None:
    names = ["a b", "é", "z%2F", "日本", "x" * 200]
    for name in names:
        assert (await client.put(f"/v1/lanes/media/{quote(name, safe='')}", json={})).json()["name"] == name
        assert (await client.get(f"/v1/lanes/media/{quote(name, safe='')}")).json()["name"] == name
        await job_in(place, name)
    seen, cursor = [], {}
    while True:
        page = (await client.get("/v1/lanes", params={"limit": "2", **cursor})).json()
        seen += [(item["queue"], item["name"], item["waiting"]) for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [("api", name, 1) for name in sorted(names)] + [("media", name, 0) for name in sorted(names)]
    only = (await client.get("/v1/lanes", params={"queue": "media"})).json()
    assert [item["name"] for item in only["items"]] == sorted(names)


async def test_what_another_tenant_says_of_a_lane_is_another_lane(place: Place, client: httpx.AsyncClient) -> None:
    await job_in(place, "x")
    await client.put("/v1/lanes/api/x", json={"concurrency": 3})
    other = bearer(await place.key(tenant="other"))
    expect_problem(await client.get("/v1/lanes/api/x", headers=other), 404, "not_found")
    expect_problem(await client.delete("/v1/lanes/api/x", headers=other), 404, "not_found")
    expect_problem(await client.post("/v1/lanes/api/x/resume", headers=other), 404, "not_found")
    theirs = (await client.put("/v1/lanes/api/x", json={"concurrency": 9}, headers=other)).json()
    assert (theirs["concurrency"], theirs["waiting"]) == (9, 0)
    assert (await client.get("/v1/lanes/api/x")).json()["concurrency"] == 3
    assert (await client.delete("/v1/lanes/api/x", headers=other)).status_code == 204
    assert (await client.get("/v1/lanes", headers=other)).json()["items"] == []


@on_one_database
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"concurrency": 0}, "/concurrency"), ({"concurrency": 100_001}, "/concurrency"),
        ({"concurrency": True}, "/concurrency"), ({"rate_per_s": 0}, "/rate_per_s"),
        ({"rate_per_s": 5e-324}, "/rate_per_s"), ({"rate_per_s": 1e-13}, "/rate_per_s"),
        ({"rate_per_s": "5"}, "/rate_per_s"),
        ({"burst": 0}, "/burst"), ({"burst": None}, "/burst"), ({"ordered": 1}, "/ordered"), ({"speed": 1}, "/speed"),
    ],
)  # fmt: skip
async def test_limits_have_bounds(client: httpx.AsyncClient, body: Any, pointer: str) -> None:
    assert pointer in pointers(expect_problem(await client.put("/v1/lanes/api/x", json=body), 422, "invalid"))


@on_one_database
async def test_what_is_no_lane_and_no_queue(client: httpx.AsyncClient) -> None:
    for name in ("%00", "a%0Ab", "y" * 201, "%C2%85"):
        document = expect_problem(await client.put(f"/v1/lanes/api/{name}", json={}), 422, "invalid")
        assert (document["errors"][0]["in"], document["errors"][0]["pointer"]) == ("path", "/name")
    expect_problem(await client.put("/v1/lanes/api/a%2Fb", json={}), 404, "not_found")
    expect_problem(await client.put("/v1/lanes/nothing/x", json={}), 404, "not_found")
    expect_problem(await client.get("/v1/lanes", params={"queue": "nothing"}), 404, "not_found")
    for cursor in ("x", encode(new_id("job")), encode_key("lanes", "a\x00b"), encode_key("items", "api/a")):
        expect_problem(await client.get("/v1/lanes", params={"cursor": cursor}), 422, "invalid")


@on_one_database
async def test_lanes_with_limits_are_bounded(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await client.put("/v1/lanes/api/x", json={})).status_code == 200
    monkeypatch.setattr(desk.store, "ROWS_MOST", 1)
    expect_problem(await client.put("/v1/lanes/api/y", json={}), 409, "too_many_lanes")
    expect_problem(await client.post("/v1/lanes/api/y/pause"), 409, "too_many_lanes")
    assert (await client.put("/v1/lanes/api/x", json={"burst": 2})).status_code == 200
    assert store_limits.ROWS_MOST == 1


async def test_a_queue_is_paused_and_resumed(place: Place, client: httpx.AsyncClient) -> None:
    job = await job_in(place, "x")
    before = (await client.get("/v1/queues/api/backlog")).json()
    assert (before["backlog"], before["paused"], before["paused_at"]) == (1, False, None)
    async with told(place):
        paused = (await client.post("/v1/queues/api/pause")).json()
    assert (paused["name"], paused["paused"]) == ("api", True)
    assert (await client.post("/v1/queues/api/pause")).json() == paused
    shown = (await client.get("/v1/queues/api/backlog")).json()
    assert shown == {"backlog": 0, "oldest_age_s": 0.0, "paused": True, "paused_at": paused["paused_at"]}
    items = {item["name"]: item for item in (await client.get("/v1/queues")).json()["items"]}
    assert items["api"] == {"name": "api", **shown}
    assert items["media"]["paused"] is False
    assert 'holdfast_queue_depth{queue="api"} 0.0' in (await client.get("/metrics")).text
    waiting_for = (await client.get(f"/v1/jobs/{job}")).json()["waiting_for"]
    assert waiting_for == {"kind": "paused", "what": "queue", "since": paused["paused_at"]}
    async with told(place):
        resumed = (await client.post("/v1/queues/api/resume")).json()
    assert resumed == {"name": "api", "paused": False, "paused_at": None}
    assert (await client.post("/v1/queues/api/resume")).json() == resumed
    assert (await client.get("/v1/queues/api/backlog")).json()["backlog"] == 1
    expect_problem(await client.post("/v1/queues/nothing/pause"), 404, "not_found")


@on_one_database
@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/queues/api/pause", "queues:write"), ("POST", "/v1/queues/api/resume", "queues:write"),
        ("GET", "/v1/lanes", "lanes:read"), ("GET", "/v1/lanes/api/x", "lanes:read"),
        ("PUT", "/v1/lanes/api/x", "lanes:write"), ("DELETE", "/v1/lanes/api/x", "lanes:write"),
        ("POST", "/v1/lanes/api/x/pause", "lanes:write"), ("POST", "/v1/lanes/api/x/resume", "lanes:write"),
    ],
)  # fmt: skip
async def test_each_needs_its_scope(
    place: Place, client: httpx.AsyncClient, method: str, path: str, scope: str
) -> None:
    narrow = bearer(await place.key("jobs:read", "queues:read" if scope != "queues:read" else "jobs:write"))
    body = {} if method == "PUT" else None
    answer = await client.request(method, path, headers=narrow, json=body)
    assert expect_problem(answer, 403, "not_allowed")["missing_scope"] == scope
