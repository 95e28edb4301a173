"""Deliveries through the real executor to a real receiver: what goes out, what is retried, how it ends."""

import asyncio

import orjson
import pytest
from standardwebhooks import WebhookVerificationError

from shared.contracts.commands.webhooks import DeliverWebhook
from tests.integration.webhooks.office import Office

SCHEDULE = [0.02, 0.03]


async def test_an_event_reaches_its_endpoint_signed(office: Office) -> None:
    endpoint = await office.endpoint("media.*", headers={"X-Env": "prod"})
    event = await office.event("media.asset.processed.v1", {"asset": "ä\u0000", "big": 2**80 + 1})

    assert event["deliveries"] == 1
    assert await office.work() == 1

    (letter,) = office.receiver.letters
    payload = letter.verified(endpoint["secret"])
    assert payload["type"] == "media.asset.processed.v1"
    assert payload["data"] == {"asset": "ä\u0000", "big": 2**80 + 1}
    assert payload["timestamp"].endswith("Z")
    assert letter.headers["webhook-id"] == event["id"]
    assert letter.headers["content-type"] == "application/json"
    assert letter.headers["user-agent"].startswith("Holdfast")
    assert letter.headers["x-env"] == "prod"
    with pytest.raises(WebhookVerificationError):
        letter.verified("whsec_" + "A" * 43 + "=")

    delivery = await office.delivery(event)
    assert delivery["state"] == "completed"
    assert delivery["endpoint_id"] == endpoint["id"]
    assert delivery["event_type"] == "media.asset.processed.v1"
    (attempt,) = delivery["attempts"]
    assert attempt["status"] == 204
    assert attempt["latency_ms"] > 0
    assert attempt["url"] == office.receiver.url()
    shown = await office.ok(office.client.get(f"/v1/webhooks/events/{event['id']}"))
    assert shown["states"] == {"completed": 1}
    assert shown["data"] == payload["data"]


async def test_a_body_is_the_same_bytes_in_every_attempt_and_its_time_is_new(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=SCHEDULE)
    office.receiver.reply(500, times=2, body="broken", headers={"X-Why": "tired"})
    event = await office.event()

    assert await office.work() == 3

    assert len({letter.body for letter in office.receiver.letters}) == 1
    assert [letter.headers["webhook-id"] for letter in office.receiver.letters] == [event["id"]] * 3
    for letter in office.receiver.letters:
        letter.verified(endpoint["secret"])
    delivery = await office.delivery(event)
    assert delivery["state"] == "completed"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 500, 204]
    assert [attempt["outcome"] for attempt in delivery["attempts"]] == ["failed", "failed", "completed"]
    first = delivery["attempts"][0]
    assert first["body"] == "broken"
    assert first["headers"]["X-Why"] == "tired"
    assert first["error"] == {"type": "DeliveryFailed", "message": "500 Internal Server Error"}


async def test_retries_keep_the_endpoints_schedule(office: Office) -> None:
    await office.endpoint(retry_schedule_s=[0.3])
    office.receiver.reply(503)
    event = await office.event()

    await office.work_once()
    waiting = await office.delivery(event)
    assert waiting["state"] == "retrying"
    (row,) = await office.rows("SELECT j.run_at, a.finished_at FROM job j JOIN job_attempt a ON a.job_id = j.id")
    assert row["run_at"] - row["finished_at"] == pytest.approx(300_000, abs=50_000)


async def test_a_retry_after_puts_a_retry_off(office: Office) -> None:
    await office.endpoint(retry_schedule_s=[0.3])
    office.receiver.reply(429, headers={"Retry-After": "90"})
    await office.event()

    await office.work_once()
    (row,) = await office.rows("SELECT j.run_at, a.finished_at FROM job j JOIN job_attempt a ON a.job_id = j.id")
    assert row["run_at"] - row["finished_at"] == pytest.approx(90_000_000, abs=50_000)


async def test_exhaustion_ends_dead_with_the_reason_and_a_retry_brings_it_back(office: Office) -> None:
    await office.endpoint(retry_schedule_s=SCHEDULE)
    office.receiver.reply(502, times=3)
    event = await office.event()

    assert await office.work() == 3
    dead = await office.delivery(event)
    assert dead["state"] == "dead"
    assert dead["error"] == {"type": "DeliveryExhausted", "message": "502 Bad Gateway after 3 attempts"}

    office.receiver.reply(500)
    await office.ok(office.client.post(f"/v1/webhooks/deliveries/{dead['id']}/retry"), 202)
    assert await office.work() == 2
    back = await office.delivery(event)
    assert back["state"] == "completed"
    assert [attempt["number"] for attempt in back["attempts"]] == [1, 2, 3, 4, 5]

    again = await office.ok(office.client.post(f"/v1/webhooks/deliveries/{dead['id']}/retry"), 202)
    assert again["id"] != dead["id"]  # one that has completed is sent by a delivery of its own
    refused = await office.client.post(f"/v1/webhooks/deliveries/{again['id']}/retry")
    assert refused.status_code == 409
    assert refused.json()["state"] == "queued"


async def test_an_empty_schedule_is_one_attempt(office: Office) -> None:
    await office.endpoint(retry_schedule_s=[])
    office.receiver.reply(500)
    event = await office.event()

    assert await office.work() == 1
    delivery = await office.delivery(event)
    assert delivery["state"] == "dead"
    assert delivery["error"]["message"] == "500 Internal Server Error after 1 attempt"


async def test_a_schedule_cut_short_holds_for_what_is_under_way(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[0.01] * 5)
    office.receiver.reply(500, times=6)
    event = await office.event()
    await office.work_once()

    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    await office.ok(office.client.patch(path, json={"retry_schedule_s": [0.01]}))
    await office.work()
    assert len((await office.delivery(event))["attempts"]) == 2


async def test_410_disables_the_endpoint_and_ends_the_delivery(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=SCHEDULE)
    office.receiver.reply(410)
    event = await office.event()

    assert await office.work() == 1
    delivery = await office.delivery(event)
    assert (delivery["state"], delivery["error"]["message"]) == ("dead", "the receiver answered 410 Gone")
    assert delivery["attempts"][0]["status"] == 410
    shown = await office.ok(office.client.get(f"/v1/webhooks/endpoints/{endpoint['id']}"))
    assert shown["enabled"] is False
    assert shown["disabled_reason"] == "the receiver answered 410 Gone"
    assert shown["version"] == endpoint["version"] + 1
    assert (await office.event())["deliveries"] == 0


async def test_a_410_of_an_address_that_was_changed_meanwhile_disables_nothing(office: Office) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    office.receiver.reply(410)
    await office.event()
    desk = office.app.state.webhooks
    send = desk.send

    async def moved_while_sending(*args: object, **kwargs: object) -> object:
        answer = await send(*args, **kwargs)
        await office.ok(office.client.patch(path, json={"url": office.receiver.url("/new")}))
        return answer

    desk.send = moved_while_sending
    await office.work()
    assert (await office.ok(office.client.get(path)))["enabled"] is True


@pytest.mark.parametrize("how", ["disable", "delete"])
async def test_what_is_not_wanted_any_more_is_not_sent(office: Office, how: str) -> None:
    endpoint = await office.endpoint()
    event = await office.event()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    if how == "disable":
        await office.ok(office.client.post(f"{path}/disable"))
    else:
        await office.ok(office.client.delete(path), 204)

    await office.work()
    assert office.receiver.letters == []
    delivery = await office.delivery(event)
    assert delivery["state"] == "cancelled"
    assert how in delivery["error"]["message"]


async def test_a_redirect_is_a_failure_and_is_not_followed(office: Office) -> None:
    await office.endpoint(retry_schedule_s=[])
    office.receiver.reply(302, headers={"Location": office.receiver.url("/elsewhere")})
    event = await office.event()

    await office.work()
    assert [letter.path for letter in office.receiver.letters] == ["/hook"]
    assert (await office.delivery(event))["error"]["message"] == "302 Found after 1 attempt"


async def test_a_receiver_that_hangs_runs_into_its_timeout(office: Office) -> None:
    await office.endpoint(retry_schedule_s=[], timeout_s=0.2)
    event = await office.event()
    held = asyncio.Event()

    async def hang(*_: object) -> None:
        await held.wait()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await office.run("UPDATE webhooks_endpoints SET url = :url", url=f"http://127.0.0.1:{port}/")
    await office.work()
    held.set()
    server.close()

    delivery = await office.delivery(event)
    assert delivery["state"] == "dead"
    (attempt,) = delivery["attempts"]
    assert attempt["status"] is None
    assert attempt["network_error"]["kind"] == "timeout"
    assert 150 < attempt["latency_ms"] < 5_000


async def test_an_address_that_became_forbidden_ends_at_once(office: Office) -> None:
    await office.endpoint()
    event = await office.event()
    await office.run("UPDATE webhooks_endpoints SET url = 'http://169.254.169.254/latest/meta-data/'")

    assert await office.work() == 1
    delivery = await office.delivery(event)
    assert delivery["state"] == "dead"
    assert delivery["error"]["type"] == "EgressForbidden"
    assert "link_local" in delivery["error"]["message"]


async def test_a_name_that_resolves_to_a_forbidden_address_is_tried_again(office: Office) -> None:
    class Rebinding:
        async def lookup(self, host: str, port: int) -> list[str]:
            return ["10.0.0.1"]

    desk = office.app.state.webhooks
    desk._sender._resolver = Rebinding()
    await office.endpoint(url="http://hook.example/", retry_schedule_s=[0.01, 3600])
    event = await office.event()

    assert await office.work() == 2
    delivery = await office.delivery(event)
    assert delivery["state"] == "retrying"
    assert {attempt["network_error"]["kind"] for attempt in delivery["attempts"]} == {"egress"}


async def test_both_secrets_sign_while_a_rotation_overlaps(office: Office) -> None:
    endpoint = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    rotated = await office.ok(office.client.post(f"{path}/rotate-secret"))
    assert rotated["secret"] != endpoint["secret"]
    await office.event()
    await office.work()
    (letter,) = office.receiver.letters
    letter.verified(endpoint["secret"])
    letter.verified(rotated["secret"])

    await office.ok(office.client.post(f"{path}/rotate-secret", json={"overlap_s": 0}))
    await office.event()
    await office.work()
    with pytest.raises(WebhookVerificationError):
        office.receiver.letters[-1].verified(rotated["secret"])


async def test_a_test_is_one_attempt_whatever_is_subscribed(office: Office) -> None:
    endpoint = await office.endpoint("nothing.at.all")
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    office.receiver.reply(500)
    sent = await office.ok(office.client.post(f"{path}/test"), 202)

    assert await office.work() == 1
    (letter,) = office.receiver.letters
    assert letter.verified(endpoint["secret"])["type"] == "webhooks.endpoint.test"
    result = await office.ok(office.client.get(f"{path}/tests/{sent['delivery']}"))
    assert (result["state"], result["response"]["status"]) == ("completed", 500)

    await office.ok(office.client.post(f"{path}/disable"))
    assert (await office.client.post(f"{path}/test")).status_code == 409


async def test_many_deliveries_at_once_read_each_row_once(office: Office) -> None:
    for _ in range(3):
        await office.endpoint()
    for n in range(40):
        await office.event(data={"n": n})
    assert await office.work() == 1
    assert len(office.receiver.letters) == 120
    seen = sorted(orjson.loads(letter.body)["data"]["n"] for letter in office.receiver.letters)
    assert seen == sorted([*range(40)] * 3)
    assert await office.rows("SELECT 1 FROM job WHERE state <> 'completed'") == []


async def test_an_endpoint_whose_secret_cannot_be_opened_does_not_take_others_with_it(office: Office) -> None:
    broken = await office.endpoint(retry_schedule_s=[])
    await office.endpoint()
    await office.run("UPDATE webhooks_endpoints SET secret = 'hf1.nokey.AAAA' WHERE id = :id", id=broken["id"])
    await office.event()
    await office.work()
    found = await office.ok(office.client.get("/v1/webhooks/deliveries"))
    assert sorted(item["state"] for item in found["items"]) == ["completed", "dead"]


async def test_a_delivery_whose_arguments_name_another_tenants_event_sends_nothing_of_it(office: Office) -> None:
    office.client.headers.update(await office.key(tenant="globex"))
    event = await office.event("globex.secret", {"card": "4242"})
    office.client.headers.update(await office.key(tenant="acme"))
    endpoint = await office.endpoint()
    job = await office.enqueue(DeliverWebhook(event_id=event["id"], endpoint_id=endpoint["id"]))
    await office.work()
    assert office.receiver.letters == []
    shown = await office.ok(office.client.get(f"/v1/webhooks/deliveries/{job}"))
    assert (shown["state"], shown["error"]["type"], shown["event_type"]) == ("dead", "EventMissing", None)
