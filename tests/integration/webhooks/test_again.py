"""Sending again: one delivery, one event, what failed, what was missed; counted first, at a pace, cancelled, once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.webhooks.replaying import LANE, RATE_PER_S
from services.webhooks.store_events import read_bodies
from shared.contracts.commands.webhooks import ReplayEvents
from shared.db.sql import Connection
from shared.kernel.clock import rfc3339
from tests.integration.webhooks.office import Office

REPLAYS = "/v1/webhooks/replays"
HOUR_US = 3_600_000_000


def since(office: Office, ago_us: int = HOUR_US) -> str:
    return str(rfc3339(office.database.clock.now_us() - ago_us))


async def replay(office: Office, what: str, **given: Any) -> dict[str, Any]:
    """As it is when its job and everything that it made has run."""
    began = await office.ok(office.client.post(REPLAYS, json={"what": what, "rate_per_s": 1_000, **given}), 202)
    await office.work()
    shown: dict[str, Any] = await office.ok(office.client.get(f"{REPLAYS}/{began['id']}"))
    return shown


async def counted(office: Office, what: str, **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = await office.ok(
        office.client.post(REPLAYS, json={"what": what, "dry_run": True, **given}), 200
    )
    return found


def ids(office: Office) -> list[str]:
    return [letter.headers["webhook-id"] for letter in office.receiver.letters]


async def switch(office: Office, endpoint: dict[str, Any], way: str) -> None:
    await office.ok(office.client.post(f"/v1/webhooks/endpoints/{endpoint['id']}/{way}"))


async def test_a_completed_delivery_is_sent_again_with_the_same_id_and_body(office: Office) -> None:
    endpoint = await office.endpoint()
    event = await office.event(data={"n": 7})
    await office.work()
    first = await office.delivery(event)
    again = await office.ok(office.client.post(f"/v1/webhooks/deliveries/{first['id']}/retry"), 202)
    assert again["replay_of"] == first["id"] != again["id"]
    await office.work()

    one, two = office.receiver.letters
    assert (one.headers["webhook-id"], one.body) == (two.headers["webhook-id"], two.body)
    assert two.verified(endpoint["secret"])["data"] == {"n": 7}
    listed = await office.ok(office.client.get("/v1/webhooks/deliveries", params={"event_id": event["id"]}))
    assert [line["id"] for line in listed["items"]] == [again["id"], first["id"]]
    assert (await office.ok(office.client.get(f"/v1/webhooks/events/{event['id']}")))["states"] == {"completed": 2}


async def test_everything_missing_is_counted_by_kind_and_sent_once(office: Office) -> None:
    early = await office.event("a.early")
    endpoint = await office.endpoint("a.*")
    await switch(office, endpoint, "disable")
    disabled = await office.event("a.disabled")
    await switch(office, endpoint, "enable")
    filtered = await office.event("b.filtered")
    await office.ok(office.client.patch(f"/v1/webhooks/endpoints/{endpoint['id']}", json={"event_types": ["*"]}))
    given = await office.event("a.given")
    queued = await office.event("a.queued")
    await office.work()
    given_before = ids(office)
    assert sorted(given_before) == sorted([given["id"], queued["id"]])
    asked = {"endpoint_id": endpoint["id"], "since": since(office)}

    dry = await counted(office, "missing", **asked)
    assert dry["kinds"] == {"before_endpoint": 1, "disabled": 1, "filtered": 1}
    assert (dry["deliveries"], dry["complete"]) == (3, True)
    assert ids(office) == given_before

    done = await replay(office, "missing", **asked)
    assert (done["state"], done["sent"], done["kinds"]) == ("completed", 3, dry["kinds"])
    assert sorted(ids(office)[2:]) == sorted([early["id"], disabled["id"], filtered["id"]])
    assert (await counted(office, "missing", **asked))["deliveries"] == 0
    assert (await replay(office, "missing", **asked))["sent"] == 0
    assert len(ids(office)) == 5


async def test_what_was_accepted_and_then_discarded_by_a_disabled_endpoint_is_missing(office: Office) -> None:
    endpoint = await office.endpoint()
    event = await office.event()
    await switch(office, endpoint, "disable")
    await office.work()
    assert (await office.delivery(event))["state"] == "cancelled"
    await switch(office, endpoint, "enable")
    done = await replay(office, "missing", endpoint_id=endpoint["id"], since=since(office))
    assert done["kinds"] == {"disabled": 1}
    assert ids(office) == [event["id"]]
    assert (await office.delivery(event))["state"] == "completed"


async def test_everything_failed_starts_over_and_nothing_else(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[])
    office.receiver.reply(500, times=2)
    failed = [await office.event() for _ in range(2)]
    await office.work()
    fine = await office.event()
    await office.work()
    asked = {"endpoint_id": endpoint["id"], "since": since(office)}
    assert (await counted(office, "failed", **asked))["kinds"] == {"failed": 2}
    assert (await counted(office, "failed", endpoint_id=endpoint["id"], since=since(office, 1)))["deliveries"] == 0
    office.receiver.letters.clear()
    assert (await replay(office, "failed", **asked))["sent"] == 2
    assert sorted(ids(office)) == sorted(event["id"] for event in failed)
    assert fine["id"] not in ids(office)
    assert [(await office.delivery(event))["state"] for event in failed] == ["completed"] * 2


async def test_one_event_goes_to_all_who_want_it_or_to_one(office: Office) -> None:
    one = await office.endpoint("a.*")
    event = await office.event("a.b")
    await office.work()
    two = await office.endpoint("a.*", url=office.receiver.url("/two"))
    other = await office.endpoint("c.*", url=office.receiver.url("/other"))
    done = await replay(office, "event", event_id=event["id"])
    assert done["kinds"] == {"delivered": 1, "unattempted": 1}
    assert sorted(letter.path for letter in office.receiver.letters) == ["/hook", "/hook", "/two"]
    done = await replay(office, "event", event_id=event["id"], endpoint_id=other["id"])
    assert (done["sent"], office.receiver.letters[-1].path) == (1, "/other")
    assert done["endpoint_id"] not in (one["id"], two["id"])


async def test_what_waits_already_is_left_alone(office: Office) -> None:
    endpoint = await office.endpoint()
    event = await office.event()
    dry = await counted(office, "event", event_id=event["id"])
    assert (dry["deliveries"], dry["skipped"]) == (0, {"pending": 1})
    assert (await counted(office, "missing", endpoint_id=endpoint["id"], since=since(office)))["deliveries"] == 0


async def test_a_replay_keeps_its_pace_tells_its_progress_and_can_be_cancelled(office: Office) -> None:
    events = [await office.event() for _ in range(20)]
    endpoint = await office.endpoint()
    asked = {"what": "missing", "endpoint_id": endpoint["id"], "since": since(office), "rate_per_s": 4}
    began = await office.ok(office.client.post(REPLAYS, json=asked), 202)
    working = asyncio.create_task(office.work_once())
    path = f"{REPLAYS}/{began['id']}"
    shown = await office.ok(office.client.get(path))
    for _ in range(500):
        if shown["sent"] >= 2:
            break
        await asyncio.sleep(0.02)
        shown = await office.ok(office.client.get(path))
    assert 0 < shown["progress"] < 1
    assert shown["follow"] == f"/v1/jobs/{began['id']}/events"
    cancelled = await office.ok(office.client.post(f"{path}/cancel"), 202)
    assert cancelled["state"] == "cancelled"
    await working
    await office.work()
    shown = await office.ok(office.client.get(path))
    assert (shown["state"], shown["sent"] <= 6) == ("cancelled", True)
    assert len(ids(office)) == shown["sent"] < len(events)
    assert (await office.client.post(f"{path}/cancel")).status_code == 409


async def test_a_replay_is_bounded_and_of_its_tenant(office: Office) -> None:
    endpoint = await office.endpoint()
    event = await office.event()
    old = {"what": "missing", "endpoint_id": endpoint["id"], "since": since(office, 15 * 24 * HOUR_US)}
    refused = await office.client.post(REPLAYS, json=old)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/since")
    for body in (
        {"what": "missing", "endpoint_id": endpoint["id"]},
        {"what": "event", "since": since(office)},
        {"what": "failed", "endpoint_id": endpoint["id"], "since": since(office, -HOUR_US)},
        {"what": "missing", "endpoint_id": endpoint["id"], "since": since(office), "rate_per_s": 0},
    ):
        assert (await office.client.post(REPLAYS, json=body)).status_code == 422, body
    stranger = await office.key(tenant="other")
    mine = {"what": "event", "event_id": event["id"]}
    assert (await office.client.post(REPLAYS, json=mine, headers=stranger)).status_code == 404
    made = await office.ok(office.client.post(REPLAYS, json=mine), 202)
    assert made["rate_per_s"] == RATE_PER_S
    assert (await office.client.get(f"{REPLAYS}/{made['id']}", headers=stranger)).status_code == 404
    assert [one["id"] for one in (await office.ok(office.client.get(REPLAYS)))["items"]] == [made["id"]]
    assert (await office.ok(office.client.get(REPLAYS, headers=stranger)))["items"] == []
    await switch(office, endpoint, "disable")
    closed = await office.client.post(REPLAYS, json={**mine, "endpoint_id": endpoint["id"]})
    assert (closed.status_code, closed.json()["code"]) == (409, "endpoint_disabled")


async def test_a_replay_that_was_begun_is_answered_again_when_its_since_is_past_what_is_kept(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await office.endpoint()
    asked = {"what": "missing", "endpoint_id": endpoint["id"], "since": since(office)}
    key = {"Idempotency-Key": "k"}
    began = await office.ok(office.client.post(REPLAYS, json=asked, headers=key), 202)
    settings = office.app.state.webhooks.settings
    monkeypatch.setattr(office.app.state.webhooks, "settings", settings.model_copy(update={"keep_events_s": 60.0}))
    again = await office.client.post(REPLAYS, json=asked, headers=key)
    assert (again.status_code, again.headers.get("Idempotent-Replay")) == (202, "true"), again.text
    assert again.json() == began
    for body in (asked, {**asked, "dry_run": True}):
        refused = await office.client.post(REPLAYS, json=body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/since")


async def test_replays_of_a_tenant_hold_few_slots_at_once(office: Office) -> None:
    endpoint = await office.endpoint()
    asked = {"what": "failed", "endpoint_id": endpoint["id"], "since": since(office), "rate_per_s": 1_000}
    for _ in range(4):
        await office.ok(office.client.post(REPLAYS, json=asked), 202)
    rows = await office.rows("SELECT DISTINCT lane FROM job WHERE task = 'webhooks.replay_events'")
    assert rows == [{"lane": LANE}]
    assert ReplayEvents.lanes.limit == 3


async def test_bodies_are_read_few_at_a_time_and_only_where_a_filter_looks_at_them(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10):
        await office.event("a.b" if n % 2 else "c.d", data={"n": n})
    endpoint = await office.endpoint("a.*", filter={"path": "/data/n", "gte": 5})
    read: list[int] = []

    async def counting(connection: Connection, ids: Sequence[str]) -> dict[str, bytes]:
        read.append(len(ids))
        return await read_bodies(connection, ids)

    monkeypatch.setattr("services.webhooks.replay.read_bodies", counting)
    monkeypatch.setattr("services.webhooks.replay.BODIES_AT_ONCE", 4)
    dry = await counted(office, "missing", endpoint_id=endpoint["id"], since=since(office))
    assert dry["kinds"] == {"before_endpoint": 3}
    assert (sum(read), max(read)) == (5, 2)
