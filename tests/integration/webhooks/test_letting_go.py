"""Deleted endpoints, payloads whose time is over, and lists that stay fast."""

import asyncio
from typing import Any

from aiohttp import web

from services.webhooks import removal
from shared.contracts.commands.webhooks import ErasePayloads, PublishEvent
from shared.kernel.clock import SECOND_US
from shared.ledger.audit import audit
from tests.integration.webhooks.office import Office
from tests.integration.webhooks.test_upkeep import MONTH_US, purge

DELIVERIES = "/v1/webhooks/deliveries"


async def states(office: Office) -> dict[str, int]:
    rows = await office.rows("SELECT state, count(*) AS n FROM job WHERE task = 'webhooks.deliver' GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


async def test_a_deleted_endpoints_deliveries_are_cancelled_in_the_request(office: Office) -> None:
    endpoint = await office.endpoint()
    other = await office.endpoint(url=office.receiver.url("/other"))
    for _ in range(3):
        await office.event()
    await office.ok(office.client.delete(f"/v1/webhooks/endpoints/{endpoint['id']}"), 204)
    assert await states(office) == {"cancelled": 3, "ready": 3}
    await office.work()
    assert [letter.path for letter in office.receiver.letters] == ["/other"] * 3
    assert await office.rows("SELECT * FROM webhooks_deleted WHERE id = :id", id=endpoint["id"])
    listed = await office.ok(office.client.get(DELIVERIES, params={"endpoint_id": other["id"]}))
    assert {line["state"] for line in listed["items"]} == {"completed"}
    assert (await audit(office.database)).ok


async def test_many_are_cancelled_by_a_job_and_a_running_one_is_asked(office: Office, monkeypatch: Any) -> None:
    monkeypatch.setattr(removal, "AT_ONCE", 2)
    monkeypatch.setattr(removal, "BATCH", 3)
    began, end = asyncio.Event(), asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        began.set()
        await end.wait()
        return web.Response(status=204)

    office.receiver.take = hang
    endpoint = await office.endpoint()
    await office.event()
    working = asyncio.create_task(office.work_once())
    await began.wait()
    for _ in range(10):
        await office.event()
    await office.ok(office.client.delete(f"/v1/webhooks/endpoints/{endpoint['id']}"), 204)
    assert (await states(office))["cancelled"] <= 2
    await office.work_once()
    assert await states(office) == {"cancelled": 10, "running": 1}
    (running,) = await office.rows("SELECT cancel_requested_at FROM job WHERE state = 'running'")
    assert running["cancel_requested_at"] is not None
    end.set()
    await working
    assert await states(office) == {"cancelled": 10, "completed": 1}  # it was faster


async def test_payloads_are_erased_when_their_tenant_says_and_what_waits_says_so(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[3600])
    office.receiver.reply(500)
    event = await office.event()
    await office.work()
    stranger = await office.key(tenant="other")
    theirs = await office.event(**stranger)
    path = "/v1/webhooks/retention"
    assert (await office.ok(office.client.get(path)))["payload_keep_s"] is None
    for wrong in (59, 15 * 86_400, "60"):
        assert (await office.client.put(path, json={"payload_keep_s": wrong})).status_code == 422
    assert (await office.ok(office.client.put(path, json={"payload_keep_s": 60})))["payload_keep_s"] == 60
    await office.run("UPDATE webhooks_events SET created_at = created_at - :by", by=61 * SECOND_US)
    await shift(office, event["id"])
    await office.enqueue(ErasePayloads(), tenant="system")
    await office.work()
    erased = {row["id"]: row["body"] for row in await office.rows("SELECT id, body FROM webhooks_events")}
    assert erased["evt_00" + event["id"][6:]] == ""
    assert erased[theirs["id"]] != ""
    shown = await office.ok(office.client.get(f"/v1/webhooks/events/evt_00{event['id'][6:]}"))
    assert (shown["data"], shown["erased_at"] is not None) == (None, True)
    await office.run("UPDATE job SET run_at = 0 WHERE state = 'ready'")
    await office.work()
    (job,) = await office.rows("SELECT state, error_type FROM job WHERE task = 'webhooks.deliver'")
    assert (job["state"], job["error_type"]) == ("dead", "PayloadErased")
    asked = {"event": f"evt_00{event['id'][6:]}"}
    found = await office.ok(office.client.get(f"/v1/webhooks/endpoints/{endpoint['id']}/explain", params=asked))
    assert found["reason"] == "payload_expired"
    assert (await office.ok(office.client.put(path, json={"payload_keep_s": None})))["payload_keep_s"] is None


async def test_an_event_whose_id_was_made_long_before_is_kept_and_erased_by_when_it_came(office: Office) -> None:
    first = await office.event()
    await office.ok(office.client.put("/v1/webhooks/retention", json={"payload_keep_s": 60}))
    await office.run("UPDATE webhooks_events SET created_at = created_at - :by", by=61 * SECOND_US)
    await shift(office, first["id"])
    await erase_all(office)
    late = "evt_00" + "0" * 20 + first["id"][26:]
    await office.enqueue(
        PublishEvent(event_id=late, type="a.b", data={}, occurred_at="2026-01-31T13:00:00Z"), tenant="acme"
    )
    await office.work()
    after_it = await office.event()
    await office.run(
        "UPDATE webhooks_events SET created_at = created_at - :by WHERE id = :id", by=61 * SECOND_US, id=after_it["id"]
    )
    await shift(office, after_it["id"])
    assert await erase_all(office) == {late}
    await office.run("UPDATE webhooks_events SET created_at = created_at - :by", by=61 * SECOND_US)
    assert await erase_all(office) == set()


async def erase_all(office: Office) -> set[str]:
    """What still has its payload after a run."""
    await office.enqueue(ErasePayloads(), tenant="system")
    await office.work()
    return {row["id"] for row in await office.rows("SELECT id FROM webhooks_events WHERE body <> ''")}


async def shift(office: Office, event_id: str) -> None:
    """It came long ago, by its id as well."""
    old = "evt_00" + event_id[6:]
    await office.run("UPDATE webhooks_events SET id = :old WHERE id = :id", old=old, id=event_id)
    await office.run("UPDATE webhooks_deliveries SET event_id = :old WHERE event_id = :id", old=old, id=event_id)
    await office.run("UPDATE job SET args = replace(args, :id, :old)", old=old, id=event_id)


async def test_what_was_is_let_go_with_what_it_was_for(office: Office) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    await office.ok(office.client.patch(path, json={"description": "x"}))
    event = await office.event()
    await office.work()
    delivery = await office.delivery(event)
    await office.ok(office.client.post(f"{DELIVERIES}/{delivery['id']}/retry"), 202)
    await office.work()
    gone = await office.endpoint()
    await office.ok(office.client.delete(f"/v1/webhooks/endpoints/{gone['id']}"), 204)
    await office.run("UPDATE webhooks_terms SET at = at - :by", by=MONTH_US)
    await office.run("UPDATE webhooks_deleted SET deleted_at = deleted_at - :by", by=MONTH_US)
    for table in ("webhooks_deliveries", "webhooks_redeliveries"):
        await office.run(f"UPDATE {table} SET event_id = 'evt_00' || substr(event_id, 7)")
    await office.run(
        "UPDATE webhooks_events SET id = 'evt_00' || substr(id, 7), created_at = created_at - :by", by=MONTH_US
    )
    await purge(office)
    for table in ("webhooks_events", "webhooks_deliveries", "webhooks_redeliveries", "webhooks_deleted"):
        assert await office.rows(f"SELECT * FROM {table}") == [], table
    (kept,) = await office.rows("SELECT endpoint_id, version FROM webhooks_terms")
    assert (kept["endpoint_id"], kept["version"]) == (endpoint["id"], 2)


async def test_lists_pick_by_state_time_and_status(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[])
    office.receiver.reply(500)
    await office.event()
    await office.work()
    office.receiver.reply(418)
    await office.event()
    await office.work()
    middle = (await office.ok(office.client.get(DELIVERIES)))["items"][0]["created_at"]
    await office.event()
    await office.work()

    async def listed(**params: Any) -> list[str]:
        found = await office.ok(office.client.get(DELIVERIES, params={"endpoint_id": endpoint["id"], **params}))
        return [line["state"] for line in found["items"]]

    assert await listed() == ["completed", "dead", "dead"]
    assert await listed(state="dead") == ["dead", "dead"]
    assert await listed(status="500") == ["dead"]
    assert await listed(status="4xx") == ["dead"]
    assert await listed(status="2xx") == ["completed"]
    assert await listed(since=middle) == ["completed", "dead"]
    assert await listed(until=middle) == ["dead"]
    for wrong in ({"status": "abc"}, {"status": "600"}, {"since": "yesterday"}):
        assert (await office.client.get(DELIVERIES, params=wrong)).status_code == 422


async def test_a_page_costs_the_same_however_few_are_sought_among_many(office: Office) -> None:
    endpoint = await office.endpoint()
    await office.event()
    await office.work()
    await office.run(
        """INSERT INTO job (id, queue, task, args, tenant, priority, lane, run_at, state, fence, attempt, max_attempts,
                            crashes, releases, timeout_s, waits_for, due, created_at, finished_at)
           SELECT 'job_01zzzzzzzzzzzzzzzzzz' || substr('000000' || n, -6), queue, task, args, tenant, priority, lane,
                  run_at, 'completed', fence, attempt, max_attempts, 0, 0, timeout_s, 0, false, created_at, finished_at
             FROM job, (WITH RECURSIVE t(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM t WHERE n < 11999)
                        SELECT n FROM t) AS t"""
        if office.database.dialect == "sqlite"
        else """INSERT INTO job (id, queue, task, args, tenant, priority, lane, run_at, state, fence, attempt,
                            max_attempts, crashes, releases, timeout_s, waits_for, due, created_at, finished_at)
           SELECT 'job_01zzzzzzzzzzzzzzzzzz' || lpad(n::text, 6, '0'), queue, task, args, tenant, priority, lane,
                  run_at, 'completed', fence, attempt, max_attempts, 0, 0, timeout_s, 0, false, created_at, finished_at
             FROM job, generate_series(0, 11999) AS n"""
    )
    await office.run(
        """INSERT INTO webhooks_deliveries (event_id, endpoint_id, job_id)
           SELECT 'evt' || substr(id, 4), :endpoint, id FROM job WHERE id LIKE 'job_01zzzz%'""",
        endpoint=endpoint["id"],
    )
    params: dict[str, Any] = {"endpoint_id": endpoint["id"], "state": "dead"}
    first = await office.ok(office.client.get(DELIVERIES, params=params))
    assert first["items"] == []
    assert first["next_cursor"] is not None  # it has looked at ten windows, and says where to go on
    rest = await office.ok(office.client.get(DELIVERIES, params={**params, "cursor": first["next_cursor"]}))
    assert (rest["items"], rest["next_cursor"]) == ([], None)
    if office.database.dialect == "sqlite":
        plan = await office.rows(
            """EXPLAIN QUERY PLAN SELECT job_id FROM webhooks_deliveries WHERE endpoint_id = 'x' AND job_id < 'y'
                AND job_id >= '' ORDER BY job_id DESC LIMIT 10"""
        )
        assert "ix_webhooks_deliveries_endpoint" in str(plan)
        assert "TEMP B-TREE" not in str(plan)
