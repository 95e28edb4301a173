"""Queues: one number and one age each, and the gauges of /metrics."""

import httpx
import pytest

from shared.db.tx import open_tx
from shared.ledger.store_accept import new_job
from shared.ledger.store_served import serve_tasks
from shared.transport.durable import durable, durable_of
from shared.transport.enqueue import enqueue_all
from tests.integration.api.test_jobs import make
from tests.integration.http.places import Place, expect_problem


async def test_the_backlog_is_what_is_due_and_runnable(place: Place, client: httpx.AsyncClient) -> None:
    jobs = await make(place, 4)
    await make(place, 3, delay_s=60)
    await place.end(jobs[:1], "running")
    await place.end(jobs[1:2], "completed")
    shown = (await client.get("/v1/queues/api/backlog")).json()
    assert shown["backlog"] == 3
    assert 0 <= shown["oldest_age_s"] < 60
    idle = {"backlog": 0, "oldest_age_s": 0.0, "paused": False, "paused_at": None}
    assert (await client.get("/v1/queues/media/backlog")).json() == idle
    items = (await client.get("/v1/queues")).json()["items"]
    assert {item["name"]: item["backlog"] for item in items} == {"api": 3, "media": 0, "media-bulk": 0, "webhooks": 0}
    expect_problem(await client.get("/v1/queues/nothing/backlog"), 404, "not_found")


@durable(task="shop.queued", queue="shop")
async def receipt(order: int) -> None: ...


async def test_a_queue_of_ones_own_is_known_once_a_worker_has_served_it(
    place: Place, client: httpx.AsyncClient
) -> None:
    assert "shop" not in expect_problem(await client.get("/v1/queues/shop/backlog"), 404, "not_found")["known"]
    made = durable_of(receipt)
    await serve_tasks(place.database, [made.command], 1)
    async with open_tx(place.database) as tx:
        await enqueue_all(tx, [new_job(made.command_of(1), tenant="acme", now_us=tx.now_us, lane="x")])
    assert (await client.get("/v1/queues/shop/backlog")).json()["backlog"] == 1
    assert 'holdfast_queue_depth{queue="shop"} 1.0' in (await client.get("/metrics")).text
    assert (await client.put("/v1/lanes/shop/x", json={"concurrency": 2})).json()["waiting"] == 1
    lanes = (await client.get("/v1/lanes", params={"queue": "shop"})).json()["items"]
    assert [(lane["queue"], lane["name"], lane["concurrency"]) for lane in lanes] == [("shop", "x", 2)]
    assert (await client.post("/v1/queues/shop/pause")).json()["paused"]
    items = (await client.get("/v1/queues")).json()["items"]
    assert [(item["name"], item["paused"]) for item in items if item["name"] == "shop"] == [("shop", True)]


async def test_metrics_show_the_queues(place: Place, client: httpx.AsyncClient) -> None:
    jobs = await make(place, 3)
    await place.end(jobs[:1])
    text = (await client.get("/metrics")).text
    assert 'holdfast_queue_depth{queue="api"} 2.0' in text
    assert "holdfast_dead_open 1.0" in text
    assert 'holdfast_queue_oldest_seconds{queue="api"}' in text
    for name in ("jobs", "run_seconds", "wait_seconds", "stale_writes", "rescues", "stray_entries"):
        assert f"# HELP holdfast_{name}" in text


@pytest.mark.parametrize("path", ["/v1/queues", "/v1/queues/api/backlog"])
async def test_queues_have_a_scope(place: Place, client: httpx.AsyncClient, path: str) -> None:
    narrow = {"Authorization": f"Bearer {await place.key('jobs:read')}"}
    assert expect_problem(await client.get(path, headers=narrow), 403, "not_allowed")["missing_scope"] == "queues:read"


async def test_a_scaler_needs_no_more_than_the_one_scope(place: Place, client: httpx.AsyncClient) -> None:
    """The key that is made for KEDA: it reads one number for each queue, and nothing of any tenant's."""
    jobs = await make(place, 3)
    await place.end(jobs[:1], "running")
    scaler = {"Authorization": f"Bearer {await place.key('queues:read')}"}
    for queue, backlog in (("api", 3), ("webhooks", 0), ("media", 0), ("media-bulk", 0)):
        answer = await client.get(f"/v1/queues/{queue}/backlog", headers=scaler)
        assert (answer.status_code, answer.json()["backlog"]) == (200, backlog)
    for path in ("/v1/jobs", f"/v1/jobs/{jobs[0]}", "/v1/dead", "/metrics"):
        expect_problem(await client.get(path, headers=scaler), 403, "not_allowed")
    expect_problem(await client.post("/v1/queues/api/pause", headers=scaler), 403, "not_allowed")
