"""What an endpoint's answers do to it: circuit, ceiling, switch and the events that tell of them, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from services.webhooks import aftermath
from services.webhooks.breaker import HOLD
from services.webhooks.health import HealthKeeper
from shared.contracts.commands.webhooks import PublishEvent
from shared.kernel.ids import new_id
from shared.ledger.holds import waiting_for
from shared.ledger.store_waiting import read_facts
from shared.testing.servers import Valkey
from tests.integration.webhooks.office import Office, open_office, prepare

OPERATIONAL = ["endpoint.disabled", "endpoint.recovered", "delivery.attempt_failing", "delivery.exhausted"]


@pytest.fixture
async def opened(database_url: str, valkey: Valkey, tmp_path: Path) -> Any:
    """An office with settings of its own."""
    await prepare(database_url)

    def make(**webhooks: Any) -> Any:
        return open_office(database_url, valkey.url, tmp_path, **webhooks)

    return make


async def shown(office: Office, endpoint: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await office.ok(office.client.get(f"/v1/webhooks/endpoints/{endpoint['id']}"))
    return found


async def lane(office: Office, endpoint: dict[str, Any]) -> dict[str, Any] | None:
    rows = await office.rows("SELECT * FROM lane WHERE name = :name", name=endpoint["id"])
    return rows[0] if rows else None


async def told(office: Office) -> list[tuple[str, dict[str, Any]]]:
    """Operational events in the order in which they were accepted."""
    rows = await office.rows(
        "SELECT id FROM webhooks_events WHERE type IN ('" + "','".join(OPERATIONAL) + "') ORDER BY id"
    )
    found = [await office.ok(office.client.get(f"/v1/webhooks/events/{row['id']}")) for row in rows]
    return [(event["type"], event["data"]) for event in found]


async def broken(office: Office, count: int = 10, **given: Any) -> dict[str, Any]:
    """An endpoint whose circuit has opened by `count` failures at once."""
    endpoint = await office.endpoint("work.*", retry_schedule_s=[3600], **given)
    office.receiver.reply(503, times=count)
    for number in range(count):
        await office.event("work.one", {"n": number})
    await office.work_once()
    return endpoint


async def test_a_success_of_a_healthy_endpoint_writes_nothing(office: Office) -> None:
    await office.endpoint()
    for _ in range(3):
        await office.event()
    await office.work()
    assert await office.rows("SELECT * FROM webhooks_health") == []
    assert await office.rows("SELECT * FROM lane") == []


async def test_a_success_after_failures_is_written_once(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[0.01])
    office.receiver.reply(500)
    await office.event()
    await office.work_once()
    assert (await shown(office, endpoint))["health"]["failures_in_a_row"] == 1
    await office.work()
    health = (await shown(office, endpoint))["health"]
    assert (health["failures_in_a_row"], health["failing_since"]) == (0, None)
    (before,) = await office.rows("SELECT updated_at FROM webhooks_health")
    await office.event()
    await office.work()
    assert await office.rows("SELECT updated_at FROM webhooks_health") == [before]
    assert await told(office) == [], "one failure is no trouble"


async def test_the_circuit_opens_and_what_waits_spends_no_attempt(office: Office) -> None:
    endpoint = await broken(office)
    health = (await shown(office, endpoint))["health"]
    assert health["circuit"] == "open"
    assert health["last_failure"] == "503 Service Unavailable"
    row = await lane(office, endpoint)
    assert row is not None
    assert (row["held_why"], row["ceiling"]) == (HOLD, 1)
    assert row["held_until"] > office.database.clock.now_us()

    await office.endpoint("other.*")
    late = await office.event("work.one", {"n": "late"})
    other = await office.event("other.one")
    await office.work_once()
    assert (await office.delivery(other))["state"] == "completed"
    waiting = await office.delivery(late)
    assert (waiting["state"], waiting["attempts"]) == ("queued", [])
    (job,) = await office.rows("SELECT * FROM job WHERE id = :id", id=waiting["id"])
    facts = await read_facts(office.database, job, office.database.clock.now_us())
    assert waiting_for(facts) == {"kind": "held", "lane": endpoint["id"], "why": HOLD, "until": row["held_until"]}


async def test_a_delivery_that_was_dispatched_before_goes_back_unspent(office: Office) -> None:
    endpoint = await broken(office)
    late = await office.event("work.one", {"n": "late"})
    await office.run("UPDATE lane SET held_until = 0, ceiling = NULL")  # as a relay that has not heard
    sent = len(office.receiver.letters)
    await office.work_once()
    assert len(office.receiver.letters) == sent
    waiting = await office.delivery(late)
    assert (waiting["attempt"], waiting["attempts"]) == (0, [])
    (job,) = await office.rows("SELECT run_at, releases FROM job WHERE id = :id", id=waiting["id"])
    (row,) = await office.rows("SELECT held_until FROM webhooks_health WHERE endpoint_id = :id", id=endpoint["id"])
    assert job["releases"] == 1
    assert abs(job["run_at"] - row["held_until"]) < 1_000_000


async def test_one_probe_at_a_time_and_a_success_closes_it(opened: Any) -> None:
    async with opened(circuit_pause_s=0.2) as office:
        endpoint = await broken(office)
        for number in range(5):
            await office.event("work.one", {"late": number})
        sent = len(office.receiver.letters)
        office.receiver.reply(503)
        await asyncio.sleep(0.25)  # the pause itself
        assert (await shown(office, endpoint))["health"]["circuit"] == "half_open"
        await office.work_once()
        assert len(office.receiver.letters) == sent + 1, "one probe"
        health = (await shown(office, endpoint))["health"]
        assert health["circuit"] == "open"
        (row,) = await office.rows("SELECT trips, held_until - updated_at AS pause FROM webhooks_health")
        assert row["trips"] == 2
        assert row["pause"] == pytest.approx(400_000, abs=150_000), "twice as long"

        await asyncio.sleep(0.45)
        await office.work_once()
        assert len(office.receiver.letters) == sent + 2
        health = (await shown(office, endpoint))["health"]
        assert (health["circuit"], health["probe_at"], health["concurrency_ceiling"]) == ("closed", None, 25)
        row2 = await lane(office, endpoint)
        assert row2 is not None
        assert (row2["held_until"], row2["held_why"], row2["ceiling"]) == (0, None, 25)
        await office.work_once()
        assert len(office.receiver.letters) == sent + 5, "and all that waited"
        assert [kind for kind, _ in await told(office)] == ["endpoint.recovered"]


@pytest.mark.parametrize("status", [429, 502, 504])
async def test_throttling_lowers_the_ceiling_and_success_lifts_it(office: Office, status: int) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[3600])
    office.receiver.reply(status, times=3)
    for _ in range(3):
        await office.event()
    await office.work_once()
    assert (await shown(office, endpoint))["health"]["concurrency_ceiling"] == 25, "once for all that was under way"
    row = await lane(office, endpoint)
    assert row is not None
    assert (row["ceiling"], row["held_until"], row["own"]) == (25, 0, False)
    await office.run("UPDATE webhooks_health SET ceiling_at = ceiling_at - 2000000")
    office.app.state.webhooks.targets.forget(endpoint["id"])
    await office.event()
    await office.work()
    assert (await shown(office, endpoint))["health"]["concurrency_ceiling"] == 27


async def test_a_503_lowers_nothing(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[3600])
    office.receiver.reply(503)
    await office.event()
    await office.work_once()
    assert (await shown(office, endpoint))["health"]["concurrency_ceiling"] is None


async def test_only_failures_for_too_long_disable_it_once_and_say_so_once(opened: Any) -> None:
    async with opened(disable_after_s=0.3) as office:
        listener = await office.endpoint(*OPERATIONAL, url=office.receiver.url("/operations"))
        endpoint = await office.endpoint("work.*", url=office.receiver.url("/bad"), retry_schedule_s=[0.35, 3600])
        for number in range(5):
            await office.event("work.one", {"n": number})
        await office.work()
        found = await shown(office, endpoint)
        assert found["enabled"] is False
        assert found["disabled_reason"].startswith("every attempt failed for ")
        assert found["disabled_reason"].endswith(", the last with: 500 Internal Server Error")
        assert found["version"] == endpoint["version"] + 1
        (terms,) = await office.rows("SELECT disabled_reason FROM webhooks_terms WHERE enabled = :no", no=False)
        assert terms["disabled_reason"] == found["disabled_reason"], "and is remembered: somebody may ask why"
        disabled = [data for kind, data in await told(office) if kind == "endpoint.disabled"]
        assert [(data["endpoint_id"], data["trigger"]) for data in disabled] == [(endpoint["id"], "failing")]
        letters = [letter for letter in office.receiver.letters if letter.path == "/operations"]
        assert [letter.verified(listener["secret"])["type"] for letter in letters] == ["endpoint.disabled"]

        on = await office.ok(office.client.post(f"/v1/webhooks/endpoints/{endpoint['id']}/enable"))
        assert on["health"]["failing_since"] is None
        assert on["health"]["failures_in_a_row"] == 0
        path = f"/v1/webhooks/endpoints/{endpoint['id']}"
        await office.ok(office.client.patch(path, json={"url": office.receiver.url("/good")}))
        await office.event("work.one")
        await office.work()
        assert [kind for kind, _ in await told(office)][-1] == "endpoint.recovered"


async def test_the_recovery_of_one_that_was_disabled_is_told_though_its_circuit_never_opened(opened: Any) -> None:
    async with opened(disable_after_s=0.3) as office:
        await office.endpoint(*OPERATIONAL, url=office.receiver.url("/operations"))
        endpoint = await office.endpoint("work.*", url=office.receiver.url("/bad"), retry_schedule_s=[0.35, 3600])
        await office.event("work.one")
        await office.work()
        assert [kind for kind, _ in await told(office)] == ["endpoint.disabled"]
        path = f"/v1/webhooks/endpoints/{endpoint['id']}"
        await office.ok(office.client.patch(path, json={"url": office.receiver.url("/good")}))
        on = await office.ok(office.client.post(f"{path}/enable"))
        assert on["health"]["circuit"] == "closed"
        await office.event("work.one")
        await office.work()
        assert [kind for kind, _ in await told(office)] == ["endpoint.disabled", "endpoint.recovered"]


async def test_switching_it_on_closes_the_circuit(office: Office) -> None:
    endpoint = await broken(office)
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    await office.ok(office.client.post(f"{path}/disable"))
    on = await office.ok(office.client.post(f"{path}/enable"))
    assert (on["health"]["circuit"], on["health"]["concurrency_ceiling"]) == ("closed", None)
    row = await lane(office, endpoint)
    assert row is not None
    assert (row["held_until"], row["ceiling"]) == (0, None)


async def test_a_deleted_endpoint_leaves_no_health_behind(office: Office) -> None:
    endpoint = await broken(office)
    await office.ok(office.client.delete(f"/v1/webhooks/endpoints/{endpoint['id']}"), 204)
    assert await office.rows("SELECT * FROM webhooks_health") == []
    row = await lane(office, endpoint)
    assert row is not None
    assert (row["held_until"], row["ceiling"]) == (0, None)


async def test_the_fourth_failure_and_the_last_are_told_of_with_the_attempt(office: Office) -> None:
    await office.endpoint("delivery.*", url=office.receiver.url("/operations"))
    endpoint = await office.endpoint("work.*", url=office.receiver.url("/bad"), retry_schedule_s=[0.01] * 4)
    await office.endpoint("*", url=office.receiver.url("/everything"))
    event = await office.event("work.one")
    await office.work()
    (failing, exhausted) = await told(office)
    assert failing[0] == "delivery.attempt_failing"
    assert failing[1]["endpoint_id"] == endpoint["id"]
    assert (failing[1]["event_id"], failing[1]["event_type"]) == (event["id"], "work.one")
    assert (failing[1]["attempt"], failing[1]["max_attempts"], failing[1]["status"]) == (4, 5, 500)
    assert failing[1]["next_attempt_at"] is not None
    assert exhausted[0] == "delivery.exhausted"
    assert exhausted[1]["attempt"] == 5
    assert exhausted[1]["reason"] == "500 Internal Server Error after 5 attempts"
    paths = [letter.path for letter in office.receiver.letters]
    assert paths.count("/operations") == 2
    assert paths.count("/everything") == 1, "`*` is for the tenant's own events"


async def test_a_failing_operational_event_raises_none(office: Office) -> None:
    await office.endpoint(*OPERATIONAL, url=office.receiver.url("/bad"), retry_schedule_s=[0.01] * 4)
    await office.endpoint("work.*", url=office.receiver.url("/bad"), retry_schedule_s=[])
    await office.event("work.one")
    await office.work()
    assert [kind for kind, _ in await told(office)] == ["delivery.exhausted"]
    dead = "SELECT count(*) AS n FROM job WHERE state = 'dead'"
    assert (await office.rows(dead))[0]["n"] == 2


async def test_nobody_is_told_of_another_tenants_troubles(office: Office) -> None:
    theirs = await office.key(tenant="globex")
    made = await office.client.post(
        "/v1/webhooks/endpoints", headers=theirs,
        json={"url": office.receiver.url("/theirs"), "event_types": OPERATIONAL},
    )  # fmt: skip
    assert made.status_code == 201
    await office.endpoint("work.*", url=office.receiver.url("/bad"), retry_schedule_s=[])
    await office.event("work.one")
    await office.work()
    assert await told(office) == []


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_a_receiver_may_switch_itself_off(office: Office, status: int) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[0.01])
    await office.endpoint("endpoint.disabled", url=office.receiver.url("/operations"))
    office.receiver.reply(status, headers={"Webhook-Delivery": "Disable"})
    event = await office.event("work.one")
    await office.work()
    delivery = await office.delivery(event)
    assert delivery["state"] == ("completed" if status == 200 else "dead")
    assert len(delivery["attempts"]) == 1
    found = await shown(office, endpoint)
    assert found["enabled"] is False
    assert "with webhook-delivery: disable" in found["disabled_reason"]
    assert [(kind, data["trigger"]) for kind, data in await told(office)] == [("endpoint.disabled", "receiver")]


async def test_a_receiver_may_end_one_delivery(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[0.01] * 3)
    office.receiver.reply(422, headers={"webhook-delivery": "abort"})
    event = await office.event("work.one")
    await office.work()
    delivery = await office.delivery(event)
    assert (delivery["state"], len(delivery["attempts"])) == ("dead", 1)
    assert delivery["error"] == {
        "type": "DeliveryAborted",
        "message": "the receiver answered 422 Unprocessable Entity with webhook-delivery: abort",
    }
    found = await shown(office, endpoint)
    assert (found["enabled"], found["health"]["failures_in_a_row"]) == (True, 0), "a receiver that decides is well"


async def test_abort_on_a_success_says_nothing(office: Office) -> None:
    await office.endpoint()
    office.receiver.reply(200, headers={"webhook-delivery": "abort"})
    event = await office.event()
    await office.work()
    assert (await office.delivery(event))["state"] == "completed"


async def test_many_who_see_the_same_failures_decide_once(opened: Any) -> None:
    """Keepers of several workers at once: one opening, one disabling, one event, and no failure is lost."""
    async with opened(disable_after_s=0.01, circuit_least=40) as office:
        await office.endpoint("endpoint.disabled", url=office.receiver.url("/operations"))
        endpoint = await office.endpoint("work.*")
        desk = office.app.state.webhooks
        target = await desk.targets.get(endpoint["id"])
        keepers = [
            HealthKeeper(
                office.database,
                lambda *_: None,
                desk.health.rules,
                forget=lambda _: None,
                changed=desk.changed,
                subscribed=desk.subscribed,
            )
            for _ in range(4)
        ]
        begun = office.database.clock.now_us()
        await keepers[0].failed(target, begun, "refused", throttled=False, told=False, quiet=False)
        await asyncio.sleep(0.02)  # the time after which it is hopeless
        await asyncio.gather(
            *(
                keeper.failed(target, begun, "refused", throttled=False, told=False, quiet=False)
                for keeper in keepers
                for _ in range(10)
            )
        )
        (row,) = await office.rows("SELECT * FROM webhooks_health")
        assert row["failures"] == 41
        assert row["trips"] == 1
        assert (await shown(office, endpoint))["version"] == endpoint["version"] + 1
        assert [kind for kind, _ in await told(office)] == ["endpoint.disabled"]


async def test_an_attempt_that_counts_no_more_tells_nothing(office: Office) -> None:
    """Somebody else's decision came first: neither the event nor the health that would commit with it is there."""
    await office.endpoint("delivery.*", url=office.receiver.url("/operations"))
    await office.endpoint("work.*", retry_schedule_s=[])

    async def taken_over(_: web.BaseRequest) -> web.StreamResponse:
        await office.run("UPDATE job SET fence = fence + 1 WHERE state = 'running'")
        return web.Response(status=500)

    office.receiver.take = taken_over
    event = await office.event("work.one")
    await office.work_once()
    assert await told(office) == []
    assert await office.rows("SELECT * FROM webhooks_health") == []
    assert (await office.delivery(event))["attempts"] == []


@pytest.mark.parametrize("event_type", OPERATIONAL)
async def test_nobody_publishes_the_types_of_operational_events(office: Office, event_type: str) -> None:
    refused = await office.client.post("/v1/webhooks/events", json={"type": event_type, "data": {}})
    assert refused.status_code == 422
    assert refused.json()["code"] == "reserved_event_type"
    assert refused.json()["errors"][0]["pointer"] == "/type"
    published = {"event_id": new_id("evt"), "type": event_type, "data": {}, "occurred_at": "2026-11-22T10:00:00Z"}
    job_id = await office.enqueue(PublishEvent(**published))
    await office.work()
    (job,) = await office.rows("SELECT state FROM job WHERE id = :id", id=job_id)
    assert job["state"] == "dead"


async def test_an_attempt_that_went_to_the_address_before_says_nothing_of_the_new_one(office: Office) -> None:
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def take(_: web.BaseRequest) -> web.StreamResponse:
        arrived.set()
        await answer.wait()
        return web.Response(status=503)

    office.receiver.take = take
    endpoint = await office.endpoint(retry_schedule_s=[3600])
    await office.event()
    working = asyncio.create_task(office.work_once())
    await asyncio.wait_for(arrived.wait(), 10)
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    await office.ok(office.client.patch(path, json={"url": office.receiver.url("/new")}))
    answer.set()
    await working
    health = (await shown(office, endpoint))["health"]
    assert (health["failures_in_a_row"], health["failing_since"]) == (0, None)
    (attempt,) = await office.rows("SELECT outcome FROM job_attempt")
    assert attempt["outcome"] == "failed"


async def test_a_delivery_that_the_ledger_has_ended_is_told_of_once(office: Office) -> None:
    """Its process died under it: no handler was there to do so."""
    await office.endpoint("work.*")
    await office.endpoint("delivery.*", url=office.receiver.url("/ops"))
    for number in range(2):
        await office.event("work.one", {"n": number})
    (one, other) = await office.rows("SELECT id, args FROM job WHERE task = 'webhooks.deliver' ORDER BY id")
    end = """UPDATE job SET state = 'dead', error_type = :why, error_message = 'its process died', finished_at = :at
              WHERE id = :id"""
    at = office.database.clock.now_us()
    await office.run(end, id=one["id"], why="poison", at=at)
    await office.run(end, id=other["id"], why="DeliveryFailed", at=at)  # its handler has told of it
    resources, desk = office.app.state.resources, office.app.state.webhooks
    assert await aftermath.tell_of_dead(resources, desk, at + 1) == 0
    assert await aftermath.tell_of_dead(resources, desk, at) == 1
    assert await aftermath.tell_of_dead(resources, desk, at) == 0
    ((kind, data),) = await told(office)
    assert (kind, data["delivery_id"], data["reason"]) == (
        "delivery.exhausted", one["id"], "poison: its process died",
    )  # fmt: skip
    assert data["event_type"] == "work.one"
    await office.work()
    assert [letter.path for letter in office.receiver.letters].count("/ops") == 1
    ours = await office.rows("SELECT id FROM job WHERE task = 'webhooks.deliver' AND state = 'completed'")
    await office.run(end, id=ours[0]["id"], why="poison", at=at)
    assert await aftermath.tell_of_dead(resources, desk, at) == 0, "of what tells nothing is told"
