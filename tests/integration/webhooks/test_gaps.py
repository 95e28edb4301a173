"""Numbers in signed bodies, and polling for what did not come."""

import asyncio
import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.integration.webhooks.office import Office


def numbers(office: Office, path: str = "/hook") -> list[Any]:
    found = [json.loads(letter.body) for letter in office.receiver.letters if letter.path == path]
    return [body.get("sequence") for body in found]


async def poll(office: Office, endpoint: dict[str, Any], **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = await office.ok(
        office.client.get(f"/v1/webhooks/endpoints/{endpoint['id']}/events", params=params)
    )
    return found


async def test_numbers_have_no_gaps_stand_in_the_signed_body_and_belong_to_one_endpoint(office: Office) -> None:
    one = await office.endpoint(sequence=True)
    await office.endpoint(sequence=True, url=office.receiver.url("/two"))
    await office.endpoint(url=office.receiver.url("/plain"))
    await asyncio.gather(*(office.event(data={"n": n}) for n in range(30)))
    await asyncio.gather(*(office.event(data={"n": n}, **{"Idempotency-Key": f"k{n}"}) for n in range(10)))
    await office.work()
    assert sorted(numbers(office)) == list(range(1, 41))
    assert sorted(numbers(office, "/two")) == list(range(1, 41))
    assert set(numbers(office, "/plain")) == {None}
    letter = next(letter for letter in office.receiver.letters if letter.path == "/hook")
    assert Webhook(one["secret"]).verify(letter.body, letter.headers)["sequence"] in range(1, 41)
    assert list(json.loads(letter.body)) == ["sequence", "type", "timestamp", "data"]
    (row,) = await office.rows("SELECT last FROM webhooks_sequences WHERE endpoint_id = :id", id=one["id"])
    assert row["last"] == 40


async def test_a_retry_and_a_replay_carry_the_number_of_the_first(office: Office) -> None:
    await office.endpoint(sequence=True, retry_schedule_s=[0.01])
    office.receiver.reply(500)
    event = await office.event()
    await office.work()
    delivery = await office.delivery(event)
    await office.ok(office.client.post(f"/v1/webhooks/deliveries/{delivery['id']}/retry"), 202)
    await office.work()
    assert numbers(office) == [1, 1, 1]


async def test_it_is_switched_on_and_off_and_goes_on_counting(office: Office) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    for on in (False, True, False, True):
        await office.ok(office.client.patch(path, json={"sequence": on}))
        await office.event()
        await office.work()
    assert numbers(office) == [None, 1, None, 2]


async def test_a_receiver_polls_what_it_missed(office: Office) -> None:
    endpoint = await office.endpoint(sequence=True, retry_schedule_s=[])
    events = [await office.event(data={"n": n}) for n in range(3)]
    office.receiver.reply(204)
    office.receiver.reply(500, times=2)
    await office.work()
    page = await poll(office, endpoint, limit=2)
    assert [item["sequence"] for item in page["items"]] == [1, 2]
    assert page["sequence"] == {"first": 1, "last": 3}
    rest = await poll(office, endpoint, cursor=page["next_cursor"])
    assert [item["id"] for item in rest["items"]] == [events[2]["id"]]
    assert rest["next_cursor"] is None
    sent = {json.loads(letter.body)["sequence"]: json.loads(letter.body) for letter in office.receiver.letters}
    assert {item["sequence"]: item["payload"] for item in page["items"] + rest["items"]} == sent
    assert {item["state"] for item in rest["items"]} <= {"completed", "dead"}
    assert [item["sequence"] for item in (await poll(office, endpoint, after="1"))["items"]] == [2, 3]
    after = (await poll(office, endpoint, after=events[1]["id"]))["items"]
    assert [item["id"] for item in after] == [events[2]["id"]]
    assert (await poll(office, endpoint, after=rest["after"]))["items"] == []


async def test_one_without_numbers_is_polled_by_events(office: Office) -> None:
    endpoint = await office.endpoint()
    events = [await office.event(data={"n": 2**70 + n}) for n in range(3)]
    found = await poll(office, endpoint, after=events[0]["id"])
    assert [item["id"] for item in found["items"]] == [event["id"] for event in events[1:]]
    assert [item["payload"]["data"]["n"] for item in found["items"]] == [2**70 + 1, 2**70 + 2]
    assert [item["state"] for item in found["items"]] == ["queued", "queued"]
    assert (await poll(office, endpoint, after=found["after"]))["items"] == []
    refused = await office.client.get(f"/v1/webhooks/endpoints/{endpoint['id']}/events", params={"after": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/after")
    stranger = await office.key(tenant="other")
    path = f"/v1/webhooks/endpoints/{endpoint['id']}/events"
    assert (await office.client.get(path, headers=stranger)).status_code == 404


async def test_a_cancelled_delivery_leaves_a_hole_that_polling_explains(office: Office) -> None:
    endpoint = await office.endpoint(sequence=True)
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    await office.event()
    await office.ok(office.client.post(f"{path}/disable"))
    await office.work()
    await office.ok(office.client.post(f"{path}/enable"))
    await office.event()
    await office.work()
    assert numbers(office) == [2]
    found = await poll(office, endpoint)
    assert [(item["sequence"], item["state"]) for item in found["items"]] == [(1, "cancelled"), (2, "completed")]


async def test_batches_are_numbered_without_gaps_beside_single_events(office: Office) -> None:
    await office.endpoint(sequence=True)
    await office.endpoint(sequence=True, url=office.receiver.url("/two"))

    async def batch(count: int) -> None:
        events = [{"type": "a.b", "data": {"n": n}} for n in range(count)]
        await office.ok(office.client.post("/v1/webhooks/events/batch", json={"events": events}), 202)

    await asyncio.gather(batch(20), batch(20), *(office.event() for _ in range(5)))
    await office.work()
    assert sorted(numbers(office)) == list(range(1, 46))
    assert sorted(numbers(office, "/two")) == list(range(1, 46))


async def test_a_page_ends_where_its_payloads_pass_a_bound_and_holds_one_at_least(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await office.endpoint()
    events = [await office.event(data={"text": "x" * size}) for size in (100, 100, 10_000, 100)]
    await office.work()
    monkeypatch.setattr("services.webhooks.routes.asking.POLL_BYTES", 1_000)
    found: list[list[str]] = []
    cursor: str | None = None
    while True:
        page = await poll(office, endpoint, **({"cursor": cursor} if cursor else {}))
        found.append([item["id"] for item in page["items"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    ids = [event["id"] for event in events]
    assert found == [ids[:2], ids[2:3], ids[3:]]
