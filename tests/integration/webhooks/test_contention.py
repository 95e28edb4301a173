"""Endpoints while others hold their rows and the database fails: what was decided stands, and nobody deadlocks."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from services.webhooks import conclusion, health, operational, publishing, removal, store_health
from services.webhooks.breaker import Seen, State
from services.webhooks.health import Sight
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.db.sql import Statement
from shared.db.tx import Tx, open_tx
from shared.ledger.store_dead import CANCEL, cancel_jobs
from shared.ledger.store_lane import bound
from tests.integration.webhooks.office import Office
from tests.integration.webhooks.test_health import broken, shown, told

WAITING = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted"


async def until_somebody_waits(office: Office, task: asyncio.Task[Any]) -> None:
    """For a lock of PostgreSQL; SQLite has one writer, so there is nothing to see."""
    if office.database.dialect == "postgres":
        async with asyncio.timeout(5):
            while not (await office.rows(WAITING))[0]["n"] and not task.done():  # noqa: ASYNC110 - PostgreSQL tells nobody
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("change", ["patch", "delete"])
async def test_a_change_of_an_endpoint_waits_for_its_health_before_it_takes_the_lane(
    office: Office, change: str
) -> None:
    """Endpoint, health, lane: the other order is a deadlock with the group that writes the health."""
    endpoint = await broken(office)
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    await office.ok(office.client.patch(path, json={"rate_per_s": 50}))
    given = {"url": office.receiver.url("/new"), "rate_per_s": 100}
    async with open_tx(office.database, cap_s=10) as tx:
        await store_health.lock_health(tx, [endpoint["id"]], [], tx.now_us)
        call = office.client.patch(path, json=given) if change == "patch" else office.client.delete(path)
        changing = asyncio.create_task(call)
        await until_somebody_waits(office, changing)
        async with asyncio.timeout(0.5):
            await bound(tx, DeliverWebhook.queue, [(("acme", endpoint["id"]), 0, None, 1)], tx.now_us)
    assert (await changing).status_code in (200, 204)


async def test_many_recoveries_are_told_together(office: Office, monkeypatch: Any) -> None:
    """The listeners are looked for before the transaction, and whoever numbers them takes its lock once."""

    async def refuse(*_: Any) -> Any:
        raise AssertionError("the audience is read in the transaction")

    listener = await office.endpoint("endpoint.*", url=office.receiver.url("/operations"), sequence=True)
    desk = office.app.state.webhooks
    targets = [await desk.targets.get((await office.endpoint("work.*"))["id"]) for _ in range(20)]
    async with office.resources.tx() as tx:
        ids = [target.id for target in targets]
        before = await store_health.lock_health(tx, ids, ids, tx.now_us)
        bad = State(failing_since=1, failures=4, troubled=True)
        await store_health.write_health(tx, {("acme", each): bad for each in ids}, before, tx.now_us)
    monkeypatch.setattr(publishing, "read_audiences", refuse)
    locks = 0
    really = Tx.fetch

    async def fetch(self: Tx, statement: Statement, *given: Any) -> Any:
        nonlocal locks
        locks += statement.name == "lock_sequences"
        return await really(self, statement, *given)

    monkeypatch.setattr(Tx, "fetch", fetch)
    now_us = office.database.clock.now_us()
    await desk.health._flush([Sight(target, Seen("ok", now_us, now_us)) for target in targets])
    assert locks == 1
    assert [kind for kind, _ in await told(office)] == ["endpoint.recovered"] * 20
    numbers = await office.rows(
        "SELECT sequence FROM webhooks_deliveries WHERE endpoint_id = :id ORDER BY sequence", id=listener["id"]
    )
    assert [row["sequence"] for row in numbers] == list(range(1, 21))


async def test_health_that_cannot_be_written_spends_no_delivery(office: Office, monkeypatch: Any) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[0.01])
    office.receiver.reply(500)
    await office.event()
    await office.work_once()
    assert (await shown(office, endpoint))["health"]["failures_in_a_row"] == 1
    stuck = asyncio.Event()

    async def hang(_: Any) -> Any:
        await stuck.wait()
        raise ValueError("the database is gone")

    desk = office.app.state.webhooks
    monkeypatch.setattr(health, "WAIT_S", 0.1, raising=False)
    monkeypatch.setattr(desk.health._committer, "_flush", hang)
    try:
        async with asyncio.timeout(5):
            await office.work()
    finally:
        stuck.set()
    (job,) = await office.rows("SELECT state FROM job WHERE task = 'webhooks.deliver'")
    assert job["state"] == "completed"
    assert len(office.receiver.letters) == 2
    await desk.health.close()


async def test_successes_are_counted_again_when_a_failure_was_not_written(office: Office, monkeypatch: Any) -> None:
    await office.endpoint(retry_schedule_s=[3600])
    for _ in range(3):
        await office.event()
    await office.work()
    desk = office.app.state.webhooks
    really = desk.health._committer._flush

    async def refuse(_: Any) -> Any:
        raise ValueError("not this one")

    monkeypatch.setattr(desk.health._committer, "_flush", refuse)
    office.receiver.reply(500, times=2)
    await office.event()
    await office.work_once()
    assert await office.rows("SELECT * FROM webhooks_health") == []
    monkeypatch.setattr(desk.health._committer, "_flush", really)
    await office.event()
    await office.work_once()
    (row,) = await office.rows("SELECT succeeded, failed FROM webhooks_health")
    assert (row["succeeded"], row["failed"]) == (3, 1)


def failing(monkeypatch: Any, error: Exception, times: int) -> list[int]:
    """Telling raises so often."""
    left = [times]
    really = operational.tell

    async def tell(tx: Tx, *given: Any, **more: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise error
        await really(tx, *given, **more)

    monkeypatch.setattr(operational, "tell", tell)
    return left


async def test_what_people_are_told_of_an_end_outlasts_a_lost_connection(office: Office, monkeypatch: Any) -> None:
    await office.endpoint("delivery.*", url=office.receiver.url("/operations"))
    await office.endpoint("work.*", url=office.receiver.url("/bad"), retry_schedule_s=[])
    event = await office.event("work.one")
    left = failing(monkeypatch, ConnectionResetError("gone"), 2)
    await office.work_once()
    assert left == [0]
    delivery = await office.delivery(event)
    assert (delivery["state"], delivery["error"]["type"]) == ("dead", "DeliveryExhausted")
    assert len(delivery["attempts"]) == 1
    assert [kind for kind, _ in await told(office)] == ["delivery.exhausted"]


@pytest.mark.parametrize("status", [200, 410, 422, 500])
async def test_a_decision_stands_even_when_nobody_can_be_told(office: Office, monkeypatch: Any, status: int) -> None:
    await office.endpoint("delivery.*", "endpoint.*", url=office.receiver.url("/operations"))
    endpoint = await office.endpoint("work.*", retry_schedule_s=[3600] if status == 422 else [])
    word = {200: "disable", 422: "abort"}.get(status)
    office.receiver.reply(status, headers={"webhook-delivery": word} if word else None)
    event = await office.event("work.one")
    failing(monkeypatch, ConnectionResetError("gone"), 1_000)
    monkeypatch.setattr(conclusion, "PATIENCE_S", 0.2, raising=False)
    await office.work_once()
    delivery = await office.delivery(event)
    expected = {200: None, 410: "EndpointGone", 422: "DeliveryAborted", 500: "DeliveryExhausted"}[status]
    assert delivery["state"] == ("completed" if status == 200 else "dead")
    assert (delivery["error"] or {}).get("type") == expected
    assert len(delivery["attempts"]) == 1
    assert (await shown(office, endpoint))["enabled"], "what was not committed is not there"


async def test_deleting_goes_on_after_a_deadlock(office: Office, monkeypatch: Any) -> None:
    endpoint = await office.endpoint()
    await office.event()
    tries = 0

    async def deadlocked(*given: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise asyncpg.exceptions.DeadlockDetectedError("deadlock detected")
        return await cancel_jobs(*given, **more)

    monkeypatch.setattr(removal, "cancel_jobs", deadlocked)
    await office.ok(office.client.delete(f"/v1/webhooks/endpoints/{endpoint['id']}"), 204)
    assert tries == 3
    (job,) = await office.rows("SELECT state FROM job WHERE task = 'webhooks.deliver'")
    assert job["state"] == "cancelled"


async def test_two_who_cancel_the_same_jobs_lock_them_in_one_order(office: Office) -> None:
    """Whoever is second waits at the first of them, with none of the others in hand."""
    await office.endpoint()
    for _ in range(3):
        await office.event()
    ids = [row["id"] for row in await office.rows("SELECT id FROM job WHERE task = 'webhooks.deliver' ORDER BY id")]
    now_us = office.database.clock.now_us()
    await office.run("UPDATE job SET run_at = run_at + 1 WHERE id = :id", id=ids[0])  # the last place in the table
    async with open_tx(office.database, cap_s=10) as tx:
        await cancel_jobs(tx, "acme", ids[:1], now_us)

        async def other() -> Any:
            async with open_tx(office.database, cap_s=10) as own:
                values = {"ids": ids[::-1], "tenant": "acme", "now": now_us, "words": "both"}
                return await own.fetch(CANCEL, values)

        second = asyncio.create_task(other())
        await until_somebody_waits(office, second)
        async with asyncio.timeout(0.5):
            await cancel_jobs(tx, "acme", ids[1:], now_us)
    assert await second == []
