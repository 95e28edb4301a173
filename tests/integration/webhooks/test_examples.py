"""Every example of the webhooks service's OpenAPI is true: endpoints, events, deliveries, replays, with a receiver."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.integration.http.told import Told
from tests.integration.webhooks.office import Office
from tests.integration.webhooks.test_again import since

HOOKS = "/v1/webhooks"
TYPES = f"{HOOKS}/event-types"
EVENTS = f"{HOOKS}/events"
ENDPOINTS = f"{HOOKS}/endpoints"
ONE = f"{ENDPOINTS}/{{endpoint_id}}"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_examples_are_what_is_answered(office: Office) -> None:
    told = await Told.of(office.client)
    for path in ("/healthz", "/readyz"):
        await office.client.get(path)
    await event_types(office, told)
    endpoint = await endpoints(office, told)
    await probes(office, told, endpoint)
    await events(office, told, endpoint)
    await replays(office, told, endpoint)
    await questions(office, told)
    wrong = [each for each in told.untrue() if "/readyz" not in each]  # its degraded one is the api's to show
    assert "\n".join(wrong) == ""


async def sent(office: Office, method: str, path: str, body: Any = None, **options: Any) -> Any:
    answer = await office.client.request(method, path, json=body, **options)
    assert answer.is_success, answer.text
    return answer.json()


async def event_types(office: Office, told: Told) -> None:
    (registered,) = told.bodies("post", TYPES)
    await sent(office, "POST", TYPES, registered)
    for name in ("order.paid", "order.new"):
        for body in told.bodies("put", f"{TYPES}/{{name}}"):
            await sent(office, "PUT", f"{TYPES}/{name}", body)
    for path in (TYPES, f"{TYPES}/order.paid"):
        await sent(office, "GET", path)
    for body in told.bodies("patch", f"{TYPES}/{{name}}"):
        await sent(office, "PATCH", f"{TYPES}/order.new", body)


async def endpoints(office: Office, told: Told) -> str:
    """One that signs with both kinds, with a pace and a header of its own; what fails is sent again in an hour."""
    made = [await sent(office, "POST", ENDPOINTS, body) for body in told.bodies("post", ENDPOINTS)]
    (path,) = [f"{ENDPOINTS}/{one['id']}" for one in made if "signing_key" in one]
    for verb in ("disable", "enable"):
        await sent(office, "POST", f"{path}/{verb}")
    await sent(office, "GET", path)
    for body in told.bodies("patch", ONE):
        await sent(office, "PATCH", path, {**body, "rate_per_s": 10_000, "headers": {"X-Api-Key": "k"}})
    await sent(office, "PATCH", path, {"retry_schedule_s": None})
    for body in told.bodies("post", f"{ONE}/rotate-secret"):
        await sent(office, "POST", f"{path}/rotate-secret", body)
    for body in told.bodies("patch", ONE):
        await sent(office, "PATCH", f"{ENDPOINTS}/{made[-1]['id']}", body)
    for one in made:
        await sent(office, "PATCH", f"{ENDPOINTS}/{one['id']}", {"url": office.receiver.url()})
        await sent(office, "POST", f"{ENDPOINTS}/{one['id']}/disable")
    await sent(office, "POST", f"{path}/enable")
    return path


async def probes(office: Office, told: Told, path: str) -> None:
    """Answered with 401; asked once without waiting and once with."""
    office.receiver.reply(401, times=8, body="bad")
    for verb in ("test", "verify"):
        for body in told.bodies("post", f"{ONE}/{verb}"):
            asked = await sent(office, "POST", f"{path}/{verb}", {**body, "wait_s": 0})
            await office.work()
            await sent(office, "GET", f"{path}/tests/{asked['delivery']}")
            waiting = asyncio.create_task(sent(office, "POST", f"{path}/{verb}", body))
            while not waiting.done():
                await office.work()
                await asyncio.sleep(0.02)
            assert (await waiting)["state"] == "completed"
    office.receiver.replies.clear()


async def events(office: Office, told: Told, path: str) -> None:
    """Delivered, failed, sent again, until the circuit is open."""
    (event,), (batch,) = told.bodies("post", EVENTS), told.bodies("post", f"{EVENTS}/batch")
    await sent(office, "POST", EVENTS, event)
    await office.work()
    office.receiver.reply(503, times=12, body="busy")
    failing = await sent(office, "POST", EVENTS, event)
    await office.work()
    results = await sent(office, "POST", f"{EVENTS}/batch", batch)
    assert (results["accepted"], results["refused"]) == (1, 1)
    await sent(office, "GET", f"{EVENTS}/{failing['id']}")
    deliveries = (await sent(office, "GET", f"{HOOKS}/deliveries"))["items"]
    for one in deliveries:
        await sent(office, "GET", f"{HOOKS}/deliveries/{one['id']}")
    await sent(office, "POST", f"{HOOKS}/deliveries/{deliveries[-1]['id']}/retry")
    for _ in range(12):
        await sent(office, "POST", EVENTS, event)
    await office.work_once()
    assert (await sent(office, "GET", path))["health"]["circuit"] == "open"
    await sent(office, "GET", ENDPOINTS)


async def replays(office: Office, told: Told, path: str) -> None:
    """Of an endpoint that was made when events had come, and sends all of them."""
    office.receiver.replies.clear()
    office.receiver.reply(204, times=100)
    late = await office.endpoint("order.*", sequence=True)
    ids = {"endpoint_id": late["id"], "event_id": (await sent(office, "GET", f"{EVENTS}/{await newest(office)}"))["id"]}
    for body in told.bodies("post", f"{HOOKS}/replays"):
        real = {name: ids[name] for name in ids if name in body} | {"since": since(office)}
        given = {**body, **{name: value for name, value in real.items() if name in body}}
        begun = await sent(office, "POST", f"{HOOKS}/replays", given)
        if "id" in begun and body["what"] == "failed":
            await sent(office, "POST", f"{HOOKS}/replays/{begun['id']}/cancel")
        await office.work()
    for one in (await sent(office, "GET", f"{HOOKS}/replays"))["items"]:
        await sent(office, "GET", f"{HOOKS}/replays/{one['id']}")
    await sent(office, "GET", f"{ENDPOINTS}/{late['id']}/events")


async def newest(office: Office) -> str:
    rows: Sequence[dict[str, Any]] = await office.rows("SELECT max(id) AS id FROM webhooks_events")
    return str(rows[0]["id"])


async def questions(office: Office, told: Told) -> None:
    endpoint = await office.endpoint("media.*", "user.created")
    event = await office.event("order.paid", {"id": "o_1", "amount": 4200})
    await sent(office, "PATCH", f"{ENDPOINTS}/{endpoint['id']}", {"event_types": ["order.*"]})
    await sent(office, "GET", f"{ENDPOINTS}/{endpoint['id']}/explain", params={"event": event["id"]})
    await sent(office, "GET", f"{HOOKS}/explain", params={"event": event["id"], "endpoint": endpoint["id"]})
    for body in reversed(told.bodies("put", f"{HOOKS}/retention")):
        await sent(office, "PUT", f"{HOOKS}/retention", body)
    await sent(office, "GET", f"{HOOKS}/retention")
