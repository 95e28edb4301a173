"""Test sends and challenges, from the request to what a person is shown of it, on both databases."""

import asyncio
import base64
import hashlib
import hmac
from typing import Any

import orjson
import pytest
from aiohttp import web

from services.webhooks.onboarding import LANE
from shared.contracts.commands.webhooks import ProbeEndpoint
from shared.kernel.clock import SECOND_US, rfc3339
from tests.integration.webhooks.office import Office


async def result_of(office: Office, path: str, **given: Any) -> dict[str, Any]:
    sent = await office.client.post(f"{path}/test", json=given)
    assert sent.status_code == 202, sent.text
    await office.work()
    shown: dict[str, Any] = await office.ok(office.client.get(sent.headers["Location"]))
    assert sent.json() == {"id": shown["event_id"], "delivery": shown["id"]}
    assert await office.ok(office.client.get(f"/v1/webhooks/deliveries/{shown['id']}")) == shown
    return shown


async def test_a_test_shows_what_was_signed_to_the_byte(office: Office) -> None:
    made = await office.endpoint("nothing.at.all", headers={"X-Api-Key": "hush-hush"})
    path = f"/v1/webhooks/endpoints/{made['id']}"
    office.receiver.reply(401, headers={"X-Seen": "yes"}, body="bad signature")
    shown = await result_of(office, path, type="order.paid", data={"name": "Zoë", "n": 1})

    (letter,) = office.receiver.letters
    assert letter.verified(made["secret"])["data"] == {"name": "Zoë", "n": 1}
    signature = shown["signature"]
    content = signature["signed_content"]
    assert content == f"{shown['event_id']}.{signature['timestamp']}.{letter.body.decode()}"
    assert signature["signed_content_sha256"] == hashlib.sha256(content.encode()).hexdigest()
    assert signature["body_bytes"] == len(letter.body)
    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    wanted = "v1," + base64.b64encode(hmac.digest(key, content.encode(), "sha256")).decode()
    assert signature["signatures"] == [{"version": "v1", "signature": wanted, "secret": "current"}]
    sent = shown["request"]["headers"]
    assert sent.pop("x-api-key") == "***"
    assert {name: letter.headers[name] for name in sent} == sent
    assert {"host", "x-api-key"} == set(letter.headers) - set(sent)
    response = shown["response"]
    assert (response["status"], response["body"], response["headers"]["X-Seen"]) == (401, "bad signature", "yes")
    assert shown["latency_ms"] > 0
    assert shown["verdict"]["ok"] is False
    assert shown["verdict"]["message"] == "401 Unauthorized"
    assert "secret" in shown["verdict"]["hint"]
    assert "hush-hush" not in str(shown)


async def test_a_test_is_no_delivery_and_is_sent_once(office: Office) -> None:
    made = await office.endpoint("a.*")
    assert ProbeEndpoint.lanes.limit == 3
    for status in (410, 500):
        office.receiver.reply(status)
        shown = await result_of(office, f"/v1/webhooks/endpoints/{made['id']}")
        assert shown["state"] == "completed"
        assert shown["response"]["status"] == status
    assert len(office.receiver.letters) == 2
    assert (await office.ok(office.client.get(f"/v1/webhooks/endpoints/{made['id']}")))["enabled"] is True
    assert (await office.ok(office.client.get("/v1/webhooks/deliveries")))["items"] == []
    assert await office.rows("SELECT 1 FROM webhooks_events") == []
    assert await office.rows("SELECT DISTINCT lane FROM job WHERE task = 'webhooks.probe'") == [{"lane": LANE}]


async def test_both_secrets_of_a_rotation_are_told_apart(office: Office) -> None:
    made = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{made['id']}"
    await office.ok(office.client.post(f"{path}/rotate-secret", json={"overlap_s": 60}))
    shown = await result_of(office, path)
    assert [one["secret"] for one in shown["signature"]["signatures"]] == ["current", "previous"]
    assert shown["verdict"] == {"ok": True, "outcome": "success", "message": "204 No Content", "hint": None}


async def test_the_example_of_a_registered_type_is_sent(office: Office) -> None:
    made = await office.endpoint()
    examples = orjson.dumps([{"order": 7}]).decode()
    await office.run(
        "INSERT INTO webhooks_event_types"
        " (tenant, name, description, examples, archived, version, created_at, updated_at)"
        " VALUES ('acme', 'order.paid', '', :examples, false, 1, 1, 1)",
        examples=examples,
    )
    await result_of(office, f"/v1/webhooks/endpoints/{made['id']}", type="order.paid")
    assert orjson.loads(office.receiver.letters[0].body)["data"] == {"order": 7}


async def test_who_waits_is_answered_with_the_result(office: Office) -> None:
    made = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{made['id']}/test"
    waiting = asyncio.create_task(office.client.post(path, json={"wait_s": 20}))
    while not waiting.done():
        await office.work()
        await asyncio.sleep(0.05)
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["verdict"]["ok"] is True
    late = await office.client.post(path, json={"wait_s": 0.1})
    assert late.status_code == 202


async def test_what_cannot_be_reached_is_told_with_a_hint(office: Office) -> None:
    made = await office.endpoint()
    await office.run("UPDATE webhooks_endpoints SET url = 'http://169.254.169.254/latest/meta-data'")
    shown = await result_of(office, f"/v1/webhooks/endpoints/{made['id']}")
    assert (shown["response"], shown["network_error"]["kind"]) == (None, "egress")
    assert "nothing is sent to" in shown["verdict"]["hint"]


async def test_refusals_of_tests(office: Office) -> None:
    made = await office.endpoint()
    path = f"/v1/webhooks/endpoints/{made['id']}"
    for body, code in (
        ({"type": "no type!"}, "invalid"),
        ({"data": {"x": "y" * 13_000}}, "payload_too_large"),
        ({"wait_s": 31}, "invalid"),
        ({"typ": "a.b"}, "invalid"),
    ):
        refused = await office.client.post(f"{path}/test", json=body)
        assert refused.status_code in (413, 422)
        assert refused.json()["code"] == code
    theirs = await office.key(tenant="other")
    sent = await office.client.post(f"{path}/test")
    for request in (
        office.client.post(f"{path}/test", headers=theirs),
        office.client.post(f"{path}/verify", headers=theirs),
        office.client.get(sent.headers["Location"], headers=theirs),
        office.client.get(f"/v1/webhooks/endpoints/{made['id'][:-4]}0000/tests/{sent.json()['delivery']}"),
    ):
        assert (await request).status_code == 404


def echoing(secret: list[str], answer: str) -> Any:
    async def take(request: web.BaseRequest) -> web.Response:
        data = orjson.loads(await request.read())["data"]
        word = data["challenge"]
        if answer == "text":
            return web.Response(text=f"{word}\n")
        if answer == "json":
            return web.json_response({"challenge": word})
        if answer == "signed":
            key = base64.b64decode(secret[0].removeprefix("whsec_"))
            signature = base64.b64encode(hmac.digest(key, word.encode(), "sha256")).decode()
            return web.json_response({"signature": f"v1,{signature}"})
        if answer == "500 echo":
            return web.Response(status=500, text=word)
        return web.json_response({"challenge": "something else", "signature": "v1,AAAA"})

    return take


@pytest.mark.parametrize("answer", ["text", "json", "signed"])
async def test_an_endpoint_is_enabled_once_its_receiver_has_answered(office: Office, answer: str) -> None:
    secret: list[str] = []
    made = await office.endpoint("*", verify=True)
    path = f"/v1/webhooks/endpoints/{made['id']}"
    secret.append(made["secret"])
    assert (made["enabled"], made["verification"]) == (False, {"required": True, "verified_at": None})
    for request in (
        office.client.post(f"{path}/enable"),
        office.client.patch(path, json={"enabled": True}),
        office.client.post(f"{path}/test"),
    ):
        refused = await request
        assert (refused.status_code, refused.json()["code"]) == (409, "endpoint_unverified")
    assert (await office.event())["deliveries"] == 0
    await office.work()  # the challenge of the registration, which this receiver answered with 204
    assert len(office.receiver.letters) == 1
    assert (await office.ok(office.client.get(path)))["enabled"] is False

    office.receiver.take = echoing(secret, answer)
    sent = await office.client.post(f"{path}/verify")
    await office.work()
    result = await office.ok(office.client.get(sent.headers["Location"]))
    assert (result["purpose"], result["verdict"]["ok"], result["verdict"]["verified"]) == ("challenge", True, True)
    shown = await office.ok(office.client.get(path))
    assert (shown["enabled"], shown["disabled_reason"]) == (True, None)
    assert shown["verification"]["verified_at"] is not None
    assert (await office.event())["deliveries"] == 1


async def test_that_it_was_verified_is_remembered_of_an_endpoint(office: Office) -> None:
    office.receiver.take = echoing([], "text")
    made = await office.endpoint("*", verify=True, filter={"path": "/data/n", "gte": 5})
    await office.work()
    event = await office.event(data={"n": 1})
    path = f"/v1/webhooks/endpoints/{made['id']}"
    found = await office.ok(office.client.get(f"{path}/explain", params={"event": event["id"]}))
    assert found["reason"] == "filter_not_matching"
    checks = {one["check"]: one for one in found["checks"]}
    assert (checks["enabled"]["then"]["holds"], checks["enabled"]["now"]["holds"]) == (True, True)
    await office.ok(office.client.patch(path, json={"filter": None}))
    since = rfc3339(office.database.clock.now_us() - 60 * SECOND_US)
    asked = {"what": "missing", "endpoint_id": made["id"], "since": since, "dry_run": True}
    assert (await office.ok(office.client.post("/v1/webhooks/replays", json=asked)))["kinds"] == {"filtered": 1}


@pytest.mark.parametrize("answer", ["other", "500 echo"])
async def test_another_answer_verifies_nothing(office: Office, answer: str) -> None:
    office.receiver.take = echoing([], answer)
    made = await office.endpoint("*", verify=True)
    path = f"/v1/webhooks/endpoints/{made['id']}"
    sent = await office.client.post(f"{path}/verify")
    await office.work()
    result = await office.ok(office.client.get(sent.headers["Location"]))
    assert (result["verdict"]["ok"], result["verdict"]["verified"]) == (False, False)
    shown = await office.ok(office.client.get(path))
    assert (shown["enabled"], shown["verification"]["verified_at"]) == (False, None)


async def test_another_address_has_to_prove_itself_again(office: Office) -> None:
    office.receiver.take = echoing([], "text")
    made = await office.endpoint("*", verify=True)
    path = f"/v1/webhooks/endpoints/{made['id']}"
    await office.work()
    assert (await office.ok(office.client.get(path)))["enabled"] is True
    changed = await office.ok(office.client.patch(path, json={"description": "the same address"}))
    assert changed["enabled"] is True
    changed = await office.ok(office.client.patch(path, json={"url": office.receiver.url("/other")}))
    assert (changed["enabled"], changed["verification"]["verified_at"]) == (False, None)


async def test_an_endpoint_that_need_not_prove_itself_may(office: Office) -> None:
    office.receiver.take = echoing([], "text")
    made = await office.endpoint("*")
    path = f"/v1/webhooks/endpoints/{made['id']}"
    await office.ok(office.client.post(f"{path}/disable"))
    await office.ok(office.client.post(f"{path}/verify"), 202)
    await office.work()
    shown = await office.ok(office.client.get(path))
    assert shown["verification"]["verified_at"] is not None
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "disabled by request")
