"""The HTTP API: what is accepted, what is refused and in which words, who sees what."""

import asyncio
from typing import Any

import pytest

from services.webhooks.routes import deliveries, endpoints, events, onboarding
from shared.runtime.http import api_routes
from tests.integration.webhooks.office import Office, open_office, prepare
from tests.stalls import within

ENDPOINTS = "/v1/webhooks/endpoints"
EVENTS = "/v1/webhooks/events"
DELIVERIES = "/v1/webhooks/deliveries"


async def refused(office: Office, body: Any, path: str = ENDPOINTS, status: int = 422) -> dict[str, Any]:
    response = await office.client.post(path, json=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    return problem


async def test_an_endpoint_is_registered_changed_and_removed(office: Office) -> None:
    given = {"description": "d", "retry_schedule_s": [1, 2.5], "timeout_s": 5, "headers": {"X-Token": "abc"}}
    made = await office.endpoint("a.*", "b.c", **given, metadata={"team": "x"})
    path = f"{ENDPOINTS}/{made['id']}"
    assert made["secret"].startswith("whsec_")
    shown = await office.client.get(path)
    assert shown.headers["etag"] == '"1"'
    assert shown.json() == {key: value for key, value in made.items() if key != "secret"}
    assert shown.json()["header_names"] == ["x-token"]
    assert shown.json()["retry_schedule_s"] == [1.0, 2.5]
    assert "abc" not in shown.text

    changed = await office.client.patch(path, json={"description": "e", "headers": None, "retry_schedule_s": None})
    assert changed.headers["etag"] == '"2"'
    assert changed.json()["description"] == "e"
    assert changed.json()["header_names"] == []
    assert changed.json()["retry_schedule_s"] is None
    assert changed.json()["event_types"] == ["a.*", "b.c"]

    off = await office.ok(office.client.post(f"{path}/disable"))
    assert (off["enabled"], off["disabled_reason"]) == (False, "disabled by request")
    on = await office.ok(office.client.post(f"{path}/enable"))
    assert (on["enabled"], on["disabled_reason"], on["version"]) == (True, None, 4)
    same = await office.client.patch(path, json={})
    assert same.headers["etag"] == '"4"'
    switched = await office.client.patch(path, json={"enabled": False, "timeout_s": 7})
    assert (switched.headers["etag"], switched.json()["disabled_reason"]) == ('"5"', "disabled by request")
    await office.run("UPDATE webhooks_endpoints SET headers = 'hf1.nokey.AAAA' WHERE id = :id", id=made["id"])
    assert (await office.ok(office.client.get(path)))["header_names"] is None
    await office.ok(office.client.delete(path), 204)
    assert (await office.client.get(path)).status_code == 404


async def test_if_match_changes_only_the_version_that_was_seen(office: Office) -> None:
    path = f"{ENDPOINTS}/{(await office.endpoint())['id']}"
    stale = {"If-Match": '"7"'}
    for response in (
        await office.client.patch(path, json={"description": "x"}, headers=stale),
        await office.client.delete(path, headers=stale),
    ):
        assert response.status_code == 412
        assert response.json()["etag"] == '"1"'
    assert (await office.client.patch(path, json={}, headers={"If-Match": 'W/"1"'})).status_code == 412
    assert (await office.client.patch(path, json={}, headers={"If-Match": '"7", "1"'})).status_code == 200
    seen = {"If-Match": '"1"'}
    both = await asyncio.gather(
        *(office.client.patch(path, json={"description": str(n)}, headers=seen) for n in range(2))
    )
    assert sorted(response.status_code for response in both) == [200, 412]


async def test_a_secret_is_shown_once_and_stored_sealed(office: Office) -> None:
    keyed = {"Idempotency-Key": "k"}
    body = {"url": office.receiver.url(), "event_types": ["*"], "headers": {"x-token": "hidden-value"}}
    first = await office.client.post(ENDPOINTS, json=body, headers=keyed)
    replayed = await office.client.post(ENDPOINTS, json=body, headers=keyed)
    assert first.json() == replayed.json()
    made = first.json()
    rotated = await office.ok(office.client.post(f"{ENDPOINTS}/{made['id']}/rotate-secret", headers=keyed))

    await office.event()
    await office.work()
    for path in (ENDPOINTS, f"{ENDPOINTS}/{made['id']}", DELIVERIES):
        text = (await office.client.get(path)).text
        assert "whsec_" not in text
        assert "hidden-value" not in text
    secrets = [made["secret"], rotated["secret"], made["secret"][6:], rotated["secret"][6:], "hidden-value"]
    for table in ("webhooks_endpoints", "webhooks_events", "webhooks_deliveries", "dedup", "job", "job_attempt"):
        text = str(await office.rows(f"SELECT * FROM {table}"))
        assert not [secret for secret in secrets if secret in text], table


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "link_local"),
        ("http://[::ffff:10.0.0.1]/", "private"),
        ("http://2130706434:8080/", "loopback"),
        ("http://10.1.2.3/", "private"),
        ("ftp://example.com/", "scheme"),
        ("http://user:pass@example.com/", "userinfo"),
        ("http://example.com\\@127.0.0.1/", "characters"),
    ],
)
async def test_a_hostile_url_is_refused_when_it_is_given(office: Office, url: str, reason: str) -> None:
    made = await office.endpoint()
    problem = await refused(office, {"url": url, "event_types": ["*"]})
    assert (problem["code"], problem["reason"]) == ("url_refused", reason)
    assert problem["errors"][0]["pointer"] == "/url"
    assert "pass@" not in str(problem)
    changed = await office.client.patch(f"{ENDPOINTS}/{made['id']}", json={"url": url})
    assert changed.status_code == 422
    assert (await office.ok(office.client.get(f"{ENDPOINTS}/{made['id']}")))["url"] == made["url"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"event_types": []}, "/event_types"),
        ({"event_types": ["a.*.b"]}, "/event_types/0"),
        ({"event_types": ["ok", "no space"]}, "/event_types/1"),
        ({"retry_schedule_s": [-1]}, "/retry_schedule_s/0"),
        ({"retry_schedule_s": [1, True]}, "/retry_schedule_s/1"),
        ({"retry_schedule_s": ["5"]}, "/retry_schedule_s/0"),
        ({"retry_schedule_s": "5"}, "/retry_schedule_s"),
        ({"timeout_s": "5"}, "/timeout_s"),
        ({"description": 5}, "/description"),
        ({"metadata": {"a": 5}}, "/metadata/a"),
        ({"retry_schedule_s": [1] * 51}, "/retry_schedule_s"),
        ({"timeout_s": 61}, "/timeout_s"),
        ({"headers": {"Host": "x"}}, "/headers/Host"),
        ({"headers": {"x-a": "1\r\nx-b: 2"}}, "/headers/x-a"),
        ({"colour": "red"}, "/colour"),
        ({"description": "\u0000"}, "/description"),
    ],
)
async def test_bad_input_is_told_where_it_is(office: Office, change: dict[str, Any], pointer: str) -> None:
    problem = await refused(office, {"url": office.receiver.url(), "event_types": ["*"], **change})
    assert problem["errors"][0]["pointer"] == pointer


async def test_what_may_not_be_null_is_told_in_a_change(office: Office) -> None:
    path = f"{ENDPOINTS}/{(await office.endpoint())['id']}"
    for name in ("url", "event_types", "timeout_s", "enabled"):
        assert (await office.client.patch(path, json={name: None})).status_code == 422
    for enabled in (1, "yes", "true"):
        assert (await office.client.patch(path, json={"enabled": enabled})).status_code == 422
    assert (await office.client.get(path)).headers["etag"] == '"1"'


async def test_a_tenant_has_a_bounded_number_of_endpoints(database_url: str, valkey: Any, tmp_path: Any) -> None:
    await prepare(database_url)
    async with open_office(database_url, valkey.url, tmp_path, endpoints_max=2) as office:
        for _ in range(2):
            await office.endpoint()
        body = {"url": office.receiver.url(), "event_types": ["*"]}
        problem = await refused(office, body, status=409)
        assert (problem["code"], problem["limit"]) == ("too_many_endpoints", 2)


async def test_a_delivery_that_has_not_ended_is_called_by_the_state_that_is_shown(office: Office) -> None:
    await office.endpoint()
    await office.event()
    (delivery,) = (await office.client.get(DELIVERIES)).json()["items"]
    conflict = await office.client.post(f"{DELIVERIES}/{delivery['id']}/retry")
    assert (conflict.status_code, conflict.json()["state"], delivery["state"]) == (409, "queued", "queued")


async def test_a_payload_is_bounded(office: Office) -> None:
    await office.endpoint()
    problem = await refused(office, {"type": "a.b", "data": {"x": "y" * 256 * 1024}}, EVENTS, 413)
    assert (problem["code"], problem["limit_bytes"]) == ("payload_too_large", 256 * 1024)
    await office.event(data={"x": "y" * (256 * 1024 - 200)})
    assert (await office.rows("SELECT count(*) AS n FROM webhooks_events"))[0]["n"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"type": "a.b"}', b'{"type": "a b", "data": {}}', b'{"type": "a.b", "data": []}',
        b'{"type": "a.b", "data": {"x": NaN}}', b'{"type": "a.b", "data": {"x": 1e400}}',
        b'{"type": "a.b", "data": {"x": "\\ud800"}}', b'{"type": "a.b", "data": {}, "more": 1}',
        b'{"type": 5, "data": {}}', b'{"type": "a.b", "data": {}, "ordering_key": 7}',
        b'{"type": "a.b", "data": {"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}", b"\xff\xfe",
    ],
)  # fmt: skip
async def test_an_event_that_is_none_is_refused(office: Office, body: bytes) -> None:
    response = await office.client.post(EVENTS, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "invalid"


@pytest.mark.parametrize("path", [EVENTS, ENDPOINTS])
async def test_what_is_no_json_at_all_is_told_in_the_same_words_everywhere(office: Office, path: str) -> None:
    for body, words in (
        (b'{"type": "\xe9"}', "the body is not UTF-8: byte 10 is 0xe9"),
        (b'{"data": ' + b"[" * 5_000, "the body is nested deeper than 200 levels"),
        (b'\xef\xbb\xbf{"type": "a.b"}', "the body begins with a byte order mark: send UTF-8 without one"),
        (
            '{"type": "a.b"}'.encode("utf-16-le"),
            "the body is not UTF-8: a NUL among its first bytes looks like UTF-16 or UTF-32",
        ),
    ):
        response = await office.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["detail"]) == (422, words)
        assert response.json()["errors"] == [{"in": "body", "pointer": "", "message": words}]
    assert await office.rows("SELECT id FROM webhooks_events") == []


async def test_an_idempotency_key_makes_one_event_of_many_requests(office: Office) -> None:
    await office.endpoint()
    body = {"type": "a.b", "data": {"n": 1}}
    keyed = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(*(office.client.post(EVENTS, json=body, headers=keyed) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert (await office.rows("SELECT count(*) AS n FROM job"))[0]["n"] == 1
    await office.work()
    assert len(office.receiver.letters) == 1

    other = await office.client.post(EVENTS, json={**body, "data": {"n": 2}}, headers=keyed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_change_holds_for_the_next_event_at_once(office: Office) -> None:
    assert (await office.event("a.b"))["deliveries"] == 0
    one = await office.endpoint("a.b")
    assert (await office.event("a.b"))["deliveries"] == 1
    path = f"{ENDPOINTS}/{one['id']}"
    await office.ok(office.client.patch(path, json={"event_types": ["c.*"]}))
    assert (await office.event("a.b"))["deliveries"] == 0
    assert (await office.event("c.d.e"))["deliveries"] == 1
    await office.ok(office.client.post(f"{path}/disable"))
    assert (await office.event("c.d"))["deliveries"] == 0
    await office.ok(office.client.patch(path, json={"enabled": True}))
    assert (await office.event("c.d"))["deliveries"] == 1
    await office.ok(office.client.delete(path), 204)
    assert (await office.event("c.d"))["deliveries"] == 0


async def test_another_process_hears_of_a_change_within_a_second(office: Office, tmp_path: Any) -> None:
    settings = office.resources.settings
    redis_url = settings.redis_url.get_secret_value()
    async with open_office(settings.database_url, redis_url, tmp_path) as other:
        assert (await other.event())["deliveries"] == 0
        await office.endpoint()
        async with within(1.5), asyncio.timeout(20):
            while (await other.event())["deliveries"] == 0:  # noqa: ASYNC110 - rows, polled
                await asyncio.sleep(0.02)


async def test_deliveries_are_listed_by_endpoint_event_and_state(office: Office) -> None:
    good = await office.endpoint("good.*")
    bad = await office.endpoint("bad.*", retry_schedule_s=[], url=office.receiver.url("/bad"))
    both = [await office.event(f"{kind}.x", {"n": n}) for n in range(3) for kind in ("good", "bad")]
    await office.work()

    async def listed(**params: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        while True:
            page = await office.ok(office.client.get(DELIVERIES, params=params))
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            params["cursor"] = page["next_cursor"]

    every = await listed(limit=2)
    assert [item["id"] for item in every] == sorted((item["id"] for item in every), reverse=True)
    assert len(every) == 6
    assert {item["event_type"] for item in await listed(endpoint_id=good["id"], limit=1)} == {"good.x"}
    assert len(await listed(endpoint_id=good["id"], limit=1)) == 3
    assert [item["event_id"] for item in await listed(event_id=both[0]["id"])] == [both[0]["id"]]
    assert {item["endpoint_id"] for item in await listed(state="completed")} == {good["id"]}
    assert len(await listed(state="dead")) == 3
    assert len(await listed(state="dead", endpoint_id=bad["id"], limit=2)) == 3
    assert await listed(state="dead", endpoint_id=good["id"]) == []
    assert (await office.client.get(DELIVERIES, params={"state": "odd"})).status_code == 422


async def test_no_tenant_sees_anothers(office: Office) -> None:
    """Walks every route with an id in its path, as a tenant who has all scopes and owns nothing of it."""
    endpoint = await office.endpoint()
    event = await office.event()
    await office.work()
    delivery = await office.delivery(event)
    sent = await office.ok(office.client.post(f"/v1/webhooks/endpoints/{endpoint['id']}/test"), 202)
    await office.work()
    stranger = await office.key(tenant="other")
    ids = {
        "endpoint_id": endpoint["id"],
        "event_id": event["id"],
        "delivery_id": delivery["id"],
        "test_id": sent["delivery"],
    }
    before = await office.rows("SELECT * FROM webhooks_endpoints")

    walked = 0
    for router in (endpoints.router, events.router, deliveries.router, onboarding.router):
        for path, route in api_routes(router):
            for method in sorted(route.methods or ()):
                url = "/v1" + path.format(**ids)
                json: dict[str, Any] | None = {} if method in ("POST", "PATCH") and "rotate" not in url else None
                response = await office.client.request(method, url, headers=stranger, json=json)
                if "{" in path:
                    assert response.status_code == 404, (method, path, response.text)
                    walked += 1
                elif method == "GET":
                    assert response.json()["items"] == [], path
    assert walked == 12
    for params in ({"endpoint_id": endpoint["id"]}, {"event_id": event["id"]}):
        assert (await office.ok(office.client.get(DELIVERIES, params=params, headers=stranger)))["items"] == []
    assert (await office.ok(office.client.post(EVENTS, json={"type": "a.b", "data": {}}, headers=stranger), 202)) | {
        "id": ""
    } == {"id": "", "deliveries": 0}
    assert await office.rows("SELECT * FROM webhooks_endpoints") == before


async def test_a_key_needs_the_scope(office: Office) -> None:
    reader, nobody = await office.key("webhooks:read"), await office.key("jobs:read")
    assert (await office.client.get(ENDPOINTS, headers=reader)).status_code == 200
    assert (await office.client.get(ENDPOINTS, headers=nobody)).json()["missing_scope"] == "webhooks:read"
    posted = await office.client.post(EVENTS, json={"type": "a.b", "data": {}}, headers=reader)
    assert posted.json()["missing_scope"] == "webhooks:write"


async def test_the_app_is_ready_and_describes_itself(office: Office) -> None:
    ready = await office.client.get("/readyz", headers={"Authorization": ""})
    assert ready.json()["status"] == "ready"
    document = await office.ok(office.client.get("/openapi.json"))
    posted = document["paths"][EVENTS]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(posted["required"]) == {"type", "data"}


async def test_a_page_of_deliveries_of_another_tenant_is_empty_and_has_no_cursor(office: Office) -> None:
    endpoint = await office.endpoint()
    event = await office.event()
    for _ in range(12):  # more than one page looks at
        await office.event()
    office.client.headers.update(await office.key(tenant="globex"))
    for params in ({"endpoint_id": endpoint["id"]}, {"event_id": event["id"]}):
        page = await office.ok(office.client.get("/v1/webhooks/deliveries", params={**params, "limit": 1}))
        assert page == {"items": [], "next_cursor": None}


async def test_a_new_way_to_reach_an_endpoint_is_a_fresh_start(office: Office) -> None:
    endpoint = await office.endpoint(retry_schedule_s=[])
    path = f"/v1/webhooks/endpoints/{endpoint['id']}"
    office.receiver.reply(500)
    await office.event()
    await office.work()
    assert (await office.ok(office.client.get(path)))["health"]["failures_in_a_row"] == 1
    await office.ok(office.client.patch(path, json={"description": "as it was"}))
    assert (await office.ok(office.client.get(path)))["health"]["failures_in_a_row"] == 1
    await office.ok(office.client.patch(path, json={"oauth2": None}))
    assert (await office.ok(office.client.get(path)))["health"]["failures_in_a_row"] == 0
