"""Why an event was or was not delivered: every answer that there is."""

from typing import Any

from shared.kernel.clock import SECOND_US
from shared.kernel.ids import id_floor, new_id
from tests.integration.webhooks.office import Office


async def why(office: Office, event_id: str, endpoint: dict[str, Any], **headers: str) -> dict[str, Any]:
    path = f"/v1/webhooks/endpoints/{endpoint['id']}/explain"
    asked = office.client.get(path, params={"event": event_id}, headers=headers)
    found: dict[str, Any] = await office.ok(asked)
    return found


async def test_delivered_failed_waiting_and_with_every_attempt(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[0.01, 3600])
    event = await office.event()
    assert (await why(office, event["id"], endpoint))["outcome"] == "pending"
    office.receiver.reply(500, body="no")
    office.receiver.reply(503)
    await office.work()
    found = await why(office, event["id"], endpoint)
    assert (found["outcome"], found["reason"]) == ("pending", "retrying")
    assert "next attempt" in found["waiting_for"]
    (delivery,) = found["deliveries"]
    assert [(one["status"], one["body"]) for one in delivery["attempts"]] == [(500, "no"), (503, "")]
    await office.run("UPDATE job SET run_at = 0 WHERE state = 'ready'")
    await office.work()
    found = await why(office, event["id"], endpoint)
    assert (found["outcome"], found["reason"]) == ("delivered", "delivered")
    assert "answered with 204" in found["message"]
    both = await office.ok(
        office.client.get("/v1/webhooks/explain", params={"event": event["id"], "endpoint": endpoint["id"]})
    )
    assert both == found
    dead = await office.endpoint(retry_schedule_s=[], url=office.receiver.url("/bad"))
    event = await office.event()
    await office.work()
    found = await why(office, event["id"], dead)
    assert (found["outcome"], found["reason"]) == ("failed", "exhausted")
    assert "500" in found["message"]


async def test_unknown_events_and_those_of_other_tenants_look_alike(office: Office) -> None:
    endpoint = await office.endpoint()
    stranger = await office.key(tenant="other")
    theirs = await office.event(**stranger)
    unknown = new_id("evt")
    one, two = await why(office, theirs["id"], endpoint), await why(office, unknown, endpoint)
    assert one["reason"] == two["reason"] == "unknown_event"
    assert one["message"] == two["message"]
    assert (await why(office, "x", endpoint))["reason"] == "unknown_event"
    old = id_floor("evt", office.database.clock.now_us() - 20 * 86_400 * SECOND_US)
    assert (await why(office, old, endpoint))["outcome"] == "expired"
    path = f"/v1/webhooks/endpoints/{endpoint['id']}/explain"
    params = {"event": theirs["id"]}
    assert (await office.client.get(path, params=params, headers=stranger)).status_code == 404
    assert (await office.client.get(path)).status_code == 422


async def test_as_the_endpoint_stood_then_and_as_it_stands_now(office: Office) -> None:
    early = await office.event("a.b")
    endpoint = await office.endpoint("a.*")
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    other = await office.event("c.d")
    await office.ok(office.client.post(f"{path}/disable"))
    disabled = await office.event("a.b")
    await office.ok(office.client.post(f"{path}/enable"))
    await office.ok(office.client.patch(path, json={"event_types": ["c.*"]}))

    assert (await why(office, early["id"], endpoint))["reason"] == "endpoint_newer_than_event"
    found = await why(office, other["id"], endpoint)
    assert found["reason"] == "type_not_subscribed"
    assert "a.*" in found["message"]
    checks = {one["check"]: one for one in found["checks"]}
    assert (checks["type"]["then"]["holds"], checks["type"]["now"]["holds"]) == (False, True)
    assert found["can_be_replayed"] is True
    found = await why(office, disabled["id"], endpoint)
    assert found["reason"] == "endpoint_disabled"
    checks = {one["check"]: one for one in found["checks"]}
    assert (checks["enabled"]["then"]["holds"], checks["enabled"]["now"]["holds"]) == (False, True)


async def test_a_filter_names_the_clause_that_kept_it_out(office: Office) -> None:
    endpoint = await office.endpoint()
    condition = '{"and": [{"path": "/data/n", "gte": 5}, {"path": "/data/kind", "exists": true}]}'
    event = await office.event(data={"n": 3, "kind": "x"})
    await office.work()
    await office.run("UPDATE webhooks_terms SET filter = :f", f=condition)
    await office.run("UPDATE webhooks_endpoints SET filter = :f", f=condition)
    await office.run("DELETE FROM webhooks_deliveries")
    found = await why(office, event["id"], endpoint)
    assert found["reason"] == "filter_not_matching"
    assert "/and/0/gte: /data/n gte 5 does not hold" in found["message"]
    assert "/and/1" not in found["message"]


async def test_cancelled_deleted_gone_and_purged(office: Office) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    event = await office.event()
    await office.ok(office.client.post(f"{path}/disable"))
    await office.work()
    found = await why(office, event["id"], endpoint)
    assert (found["outcome"], found["reason"]) == ("cancelled", "endpoint_disabled")
    await office.ok(office.client.delete(path), 204)
    found = await why(office, event["id"], endpoint)
    assert found["endpoint"]["deleted_at"] is not None
    assert found["can_be_replayed"] is False
    assert (await why(office, (await office.event())["id"], endpoint))["reason"] == "endpoint_deleted"

    gone = await office.endpoint()
    event = await office.event()
    office.receiver.reply(410)
    await office.work()
    assert (await why(office, event["id"], gone))["reason"] == "gone"
    kept = await office.endpoint()
    event = await office.event()
    await office.work()
    await office.run("DELETE FROM job WHERE state = 'completed'")  # as retention does after a day
    found = await why(office, event["id"], kept)
    assert (found["outcome"], found["deliveries"][0]["attempts"][0]["status"]) == ("delivered", 204)


async def test_what_is_no_id_is_not_there(office: Office) -> None:
    event = await office.event()
    for wrong in ("\0", "ep_\0", "evt_1"):
        asked = {"event": event["id"], "endpoint": wrong}
        answer = await office.client.get("/v1/webhooks/explain", params=asked)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        for member in ("event_id", "endpoint_id"):
            body = {"what": "event", "event_id": event["id"], member: wrong}
            assert (await office.client.post("/v1/webhooks/replays", json=body)).status_code == 404
