"""What endpoints take, in which order, how fast; types and schemas; batches; fan-outs. By the HTTP API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.webhooks import batches, fanout, publishing
from services.webhooks.batches import BATCH_MAX
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from tests.integration.webhooks.office import Office

TYPES = "/v1/webhooks/event-types"
SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"maximum": 5}}}


async def publish(office: Office, event_type: str = "a.b", data: Any = None, **more: Any) -> dict[str, Any]:
    body = {"type": event_type, "data": {"n": 1} if data is None else data, **more}
    accepted: dict[str, Any] = await office.ok(office.client.post("/v1/webhooks/events", json=body), 202)
    return accepted


async def refused(call: Any, status: int, code: str) -> dict[str, Any]:
    response = await call
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    assert found["code"] == code, found
    return found


async def test_a_filter_lets_through_what_fulfils_it(office: Office) -> None:
    made = await office.endpoint("order.*", filter={"and": [{"path": "/data/amount", "gte": 100}]})
    assert made["filter"] == {"and": [{"path": "/data/amount", "gte": 100}]}
    assert (await publish(office, "order.paid", {"amount": 100}))["deliveries"] == 1
    assert (await publish(office, "order.paid", {"amount": 99}))["deliveries"] == 0
    assert (await publish(office, "order.paid", {"amount": "100"}))["deliveries"] == 0
    one = f"/v1/webhooks/endpoints/{made['id']}"
    changed = await office.ok(office.client.patch(one, json={"filter": None}), 200)
    assert changed["filter"] is None
    assert (await publish(office, "order.paid", {}))["deliveries"] == 1


async def test_a_filter_that_is_none_is_refused_with_its_place(office: Office) -> None:
    body = {"url": office.receiver.url(), "event_types": ["*"], "filter": {"or": [{"path": "/data/x", "like": 1}]}}
    found = await refused(office.client.post("/v1/webhooks/endpoints", json=body), 422, "filter_refused")
    assert found["errors"][0]["pointer"] == "/filter/or/0/like"


async def test_channels_are_shared_or_there_are_none(office: Office) -> None:
    await office.endpoint("*")
    await office.endpoint("*", channels=["eu", "us"])
    assert (await publish(office))["deliveries"] == 1
    assert (await publish(office, channels=["eu"]))["deliveries"] == 2
    accepted = await publish(office, channels=["asia", "us"])
    assert accepted["deliveries"] == 2
    assert (await publish(office, channels=["asia"]))["deliveries"] == 1
    shown = await office.ok(office.client.get(f"/v1/webhooks/events/{accepted['id']}"), 200)
    assert shown["channels"] == ["asia", "us"]


async def test_limits_and_order_stand_in_the_lane_and_go_with_the_endpoint(office: Office) -> None:
    made = await office.endpoint("*", rate_per_s=50, concurrency=3, ordering="key")
    assert (made["rate_per_s"], made["concurrency"], made["ordering"]) == (50.0, 3, "key")
    query = "SELECT own, concurrency, rate_per_s, burst, ordered FROM lane WHERE name = :name"
    (row,) = await office.rows(query, name=made["id"])
    assert (bool(row["own"]), row["concurrency"], row["rate_per_s"], row["burst"], bool(row["ordered"])) == (
        True, 3, 50.0, 5, True,
    )  # fmt: skip
    one = f"/v1/webhooks/endpoints/{made['id']}"
    await office.ok(office.client.patch(one, json={"rate_per_s": None, "concurrency": None, "ordering": "none"}), 200)
    (row,) = await office.rows(query, name=made["id"])
    assert not row["own"]


async def test_each_key_has_a_lane_in_that_of_its_endpoint(office: Office) -> None:
    made = await office.endpoint("*", ordering="key")
    for key in ("k/1", "k/1", "k2", None):
        await publish(office, ordering_key=key)
    lanes = [
        row["lane"] for row in await office.rows("SELECT lane FROM job WHERE task = 'webhooks.deliver' ORDER BY id")
    ]
    assert len(set(lanes)) == 3
    assert lanes[0] == lanes[1]
    assert all(lane.startswith(made["id"] + ":") for lane in lanes)


async def test_an_endpoint_may_begin_disabled(office: Office) -> None:
    made = await office.endpoint("*", enabled=False)
    assert made["enabled"] is False
    assert (await publish(office))["deliveries"] == 0


async def test_events_are_held_to_their_type(office: Office) -> None:
    response = await office.client.post(TYPES, json={"name": "order.paid", "schema": SCHEMA, "examples": [{"id": "o"}]})
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"{TYPES}/order.paid"
    await office.endpoint("*")
    assert (await publish(office, "order.paid", {"id": "a"}))["deliveries"] == 1
    call = office.client.post("/v1/webhooks/events", json={"type": "order.paid", "data": {"id": "a", "n": 6}})
    found = await refused(call, 422, "schema_violated")
    assert found["errors"][0]["pointer"] == "/data/n"
    assert (found["rule"], found["schema_pointer"]) == ("maximum", "/properties/n/maximum")
    assert (await publish(office, "order.unheard_of", {"n": 6}))["deliveries"] == 1
    await office.ok(
        office.client.patch(f"{TYPES}/order.paid", json={"schema": {"required": ["x"]}, "examples": None}), 200
    )
    await refused(office.client.post("/v1/webhooks/events", json={"type": "order.paid", "data": {"id": "a"}}), 422,
                  "schema_violated")  # fmt: skip
    await office.ok(office.client.patch(f"{TYPES}/order.paid", json={"archived": True}), 200)
    await refused(office.client.post("/v1/webhooks/events", json={"type": "order.paid", "data": {"x": 1}}), 422,
                  "event_type_archived")  # fmt: skip
    assert (await office.client.delete(f"{TYPES}/order.paid")).status_code == 204
    assert (await publish(office, "order.paid", {}))["deliveries"] == 1


@pytest.mark.parametrize(
    ("given", "code", "pointer"),
    [
        ({"schema": {"type": "foo"}}, "schema_refused", "/schema/type"),
        ({"schema": {"$ref": "http://127.0.0.1:1/x.json"}}, "schema_refused", "/schema/$ref"),
        ({"schema": {"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, "schema_refused", "/schema/items/allOf/0"),
        ({"schema": {"properties": {"a": {"pattern": "(?=a)"}}}}, "schema_refused", "/schema/properties/a/pattern"),
        ({"schema": {"description": "x" * 70_000}}, "schema_refused", "/schema"),
        ({"schema": SCHEMA, "examples": [{"id": "a"}, {"id": 7}]}, "example_refused", "/examples/1/id"),
    ],
)
async def test_types_that_are_refused(office: Office, given: dict[str, Any], code: str, pointer: str) -> None:
    found = await refused(office.client.post(TYPES, json={"name": "a", **given}), 422, code)
    assert found["errors"][0]["pointer"] == pointer
    assert (await office.client.get(f"{TYPES}/a")).status_code == 404


async def test_types_are_kept_by_tenant_and_version(office: Office) -> None:
    for name in ("b", "a", "c.d"):
        await office.ok(office.client.put(f"{TYPES}/{name}", json={"schema": SCHEMA}), 201)
    page = await office.ok(office.client.get(TYPES, params={"limit": 2}), 200)
    assert [one["name"] for one in page["items"]] == ["a", "b"]
    rest = await office.ok(office.client.get(TYPES, params={"cursor": page["next_cursor"]}), 200)
    assert [one["name"] for one in rest["items"]] == ["c.d"]
    await refused(office.client.post(TYPES, json={"name": "a"}), 409, "event_type_exists")
    changed = await office.client.put(f"{TYPES}/a", json={"description": "x"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"], changed.json()["schema"]) == (200, '"2"', None)
    for method in ("put", "patch"):
        call = office.client.request(method, f"{TYPES}/a", json={}, headers={"If-Match": '"1"'})
        await refused(call, 412, "version_changed")
    await refused(office.client.delete(f"{TYPES}/a", headers={"If-Match": '"1"'}), 412, "version_changed")
    other = await office.key(tenant="globex")
    assert (await office.client.get(f"{TYPES}/a", headers=other)).status_code == 404


async def test_a_schedule_of_the_type_bounds_attempts_unless_the_endpoint_has_one(office: Office) -> None:
    await office.ok(office.client.put(f"{TYPES}/a", json={"retry_schedule_s": [1, 2]}), 201)
    await office.endpoint("*")
    await office.endpoint("*", retry_schedule_s=[1])
    await publish(office, "a")
    rows = await office.rows("SELECT max_attempts FROM job WHERE task = 'webhooks.deliver' ORDER BY max_attempts")
    assert [row["max_attempts"] for row in rows] == [2, 3]


async def test_a_batch_gives_each_event_its_own_result(office: Office) -> None:
    await office.ok(office.client.put(f"{TYPES}/strict", json={"schema": SCHEMA}), 201)
    await office.endpoint("*")
    good = {"type": "a", "data": {}}
    events = [good, {"type": "strict", "data": {"id": 1}}, {"type": "a"}, 7, {"type": "a b", "data": {}},
              {"type": "a", "data": {"x": "y" * 262_144}}, good]  # fmt: skip
    response = await office.client.post("/v1/webhooks/events/batch", json={"events": events})
    assert response.status_code == 202, response.text
    found = response.json()
    assert [one["status"] for one in found["items"]] == [202, 422, 422, 422, 422, 413, 202]
    assert (found["accepted"], found["refused"]) == (2, 5)
    places = [one["error"]["errors"][0]["pointer"] for one in found["items"][1:5]]
    assert places == ["/events/1/data/id", "/events/2/data", "/events/3", "/events/4/type"]
    rows = await office.rows("SELECT id FROM webhooks_events ORDER BY id")
    assert [row["id"] for row in rows] == [found["items"][0]["id"], found["items"][6]["id"]]
    assert len(await office.rows("SELECT id FROM job WHERE task = 'webhooks.deliver'")) == 2


async def test_a_batch_is_replayed_by_its_key_and_an_event_by_its_own(office: Office) -> None:
    await office.endpoint("*")
    events = [{"type": "a", "data": {"n": n}, "idempotency_key": f"k{n}"} for n in (1, 2)]
    again = {"type": "a", "data": {"n": 1}, "idempotency_key": "k1"}
    body = {"events": [*events, again, {**again, "data": {"n": 9}}]}
    first = await office.client.post("/v1/webhooks/events/batch", json=body, headers={"Idempotency-Key": "b1"})
    items = first.json()["items"]
    assert [one["status"] for one in items] == [202, 202, 202, 422]
    assert items[2]["id"] == items[0]["id"]
    assert items[3]["error"]["code"] == "idempotency_key_reused"
    second = await office.client.post("/v1/webhooks/events/batch", json=body, headers={"Idempotency-Key": "b1"})
    assert second.json() == first.json()
    third = await office.client.post(
        "/v1/webhooks/events/batch", json={"events": [events[1], {"type": "a", "data": {}}]}
    )
    assert third.json()["items"][0] == {**items[1], "replayed": True}
    assert len(await office.rows("SELECT id FROM webhooks_events")) == 3


async def test_what_was_accepted_is_answered_again_though_it_would_be_refused_by_now(office: Office) -> None:
    body = {"type": "a", "data": {"n": 1}}
    key = {"Idempotency-Key": "k"}
    first = await office.event("a", **key)
    await office.ok(office.client.put(f"{TYPES}/a", json={"archived": True}), 201)
    again = await office.client.post("/v1/webhooks/events", json=body, headers=key)
    assert (again.status_code, again.headers.get("Idempotent-Replay")) == (202, "true"), again.text
    assert again.json() == first
    other = {"type": "a", "data": {"n": 2}}
    await refused(office.client.post("/v1/webhooks/events", json=other, headers=key), 422, "idempotency_key_reused")
    await refused(office.client.post("/v1/webhooks/events", json=body), 422, "event_type_archived")
    assert len(await office.rows("SELECT id FROM webhooks_events")) == 1


async def test_an_event_of_a_batch_that_was_accepted_is_answered_again_though_it_would_be_refused_by_now(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def results(*events: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await office.ok(office.client.post("/v1/webhooks/events/batch", json={"events": list(events)}), 202)
        items: list[dict[str, Any]] = answer["items"]
        return items

    def event(event_type: str, n: int, key: str) -> dict[str, Any]:
        return {"type": event_type, "data": {"n": n}, "idempotency_key": key}

    await office.endpoint("b", ordering="endpoint")
    before = await results(event("a", 1, "k1"), event("b", 2, "k2"))
    await office.ok(office.client.put(f"{TYPES}/a", json={"archived": True}), 201)
    monkeypatch.setattr(batches, "JOBS_MOST", 0)  # and there is no room for those of b
    items = await results(event("a", 1, "k1"), event("b", 2, "k2"), event("a", 9, "k1"), event("a", 3, "k3"))
    assert items[:2] == [{**one, "replayed": True} for one in before]
    assert [one["error"]["code"] for one in items[2:]] == ["idempotency_key_reused", "event_type_archived"]
    # What was refused has taken no key, in whatever place of a batch; what was accepted has.
    items = await results(event("a", 3, "k3"), event("c", 3, "k3"), event("a", 3, "k3"))
    assert [one["status"] for one in items] == [422, 202, 422]
    assert [items[n]["error"]["code"] for n in (0, 2)] == ["event_type_archived", "idempotency_key_reused"]
    assert len(await office.rows("SELECT id FROM webhooks_events")) == 3


@pytest.mark.parametrize("body", [{}, {"events": []}, {"events": 1}, [], {"events": [{}], "x": 1},
                                  {"events": [{}] * (BATCH_MAX + 1)}])  # fmt: skip
async def test_what_is_no_batch_is_refused(office: Office, body: Any) -> None:
    await refused(office.client.post("/v1/webhooks/events/batch", json=body), 422, "invalid")


async def many_endpoints(office: Office, count: int) -> None:
    await office.endpoint("*")
    await office.run(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < CAST(:count AS integer))"
        " INSERT INTO webhooks_endpoints (id, tenant, url, description, event_types, timeout_s, meta, enabled, secret,"
        " version, created_at, updated_at, kind, must_verify, signing, sequence, ordering)"
        " SELECT 'ep_0' || substr('0000000000000000000000000' || CAST(i AS text), -25), tenant, url, '', event_types,"
        " timeout_s, meta, enabled, secret, 1, created_at, updated_at, kind, must_verify, signing, sequence, 'none'"
        " FROM webhooks_endpoints CROSS JOIN n WHERE ordering = 'none'",
        count=count,
    )


async def test_wide_events_are_fanned_out_by_a_job_that_repeats_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "BATCH", 40)
    ordered = await office.endpoint("*", ordering="endpoint")
    await many_endpoints(office, publishing.FANOUT_AT + 20)
    office.app.state.webhooks.catalogue.forget("acme")
    accepted = await publish(office)
    assert accepted["deliveries"] == publishing.FANOUT_AT + 22
    links = "SELECT endpoint_id, job_id FROM webhooks_deliveries ORDER BY endpoint_id"
    assert [row["endpoint_id"] for row in await office.rows(links)] == [ordered["id"]]
    shown = await office.ok(office.client.get(f"/v1/webhooks/events/{accepted['id']}"), 200)
    assert shown["fan_out"] == {
        "job": accepted["fan_out"]["job"], "matched": publishing.FANOUT_AT + 22, "made": 1, "endpoints_seen": 0,
        "endpoints_total": None, "finished": False,
    }  # fmt: skip

    # An attempt fails in the third batch, and the next one goes on there.
    after: list[str] = []
    really = fanout._batch

    async def failing(resources: Any, event: Any, page: Any, cursor: str, total: int) -> bool:
        after.append(cursor)
        if len(after) == 3:
            raise OSError("the database is gone")
        return await really(resources, event, page, cursor, total)

    monkeypatch.setattr(fanout, "_batch", failing)
    await office.work()
    assert after[2] == after[3]
    assert sorted({*after}) == [*after[:3], after[4]]
    (job,) = await office.rows("SELECT state, attempt FROM job WHERE task = 'webhooks.fan_out'")
    assert (job["state"], job["attempt"]) == ("completed", 2)
    deliveries = await office.rows(links)
    assert len(deliveries) == publishing.FANOUT_AT + 22
    jobs = await office.rows("SELECT id FROM job WHERE task = 'webhooks.deliver'")
    assert sorted(row["id"] for row in jobs) == sorted(row["job_id"] for row in deliveries)
    shown = await office.ok(office.client.get(f"/v1/webhooks/events/{accepted['id']}"), 200)
    assert (shown["fan_out"]["finished"], shown["fan_out"]["made"]) == (True, publishing.FANOUT_AT + 22)


async def test_a_batch_that_somebody_else_made_is_not_made_again(office: Office) -> None:
    from services.webhooks import store_fanout

    event_id = new_id("evt")
    async with open_tx(office.database) as tx:
        await tx.fetch(store_fanout.BEGIN, None, [(event_id, new_id("job"), 5, 0)])
        step = {"after": "", "to": "ep_1", "seen": 3, "made": 3, "total": 5}
        assert await store_fanout.move(tx, event_id, **step) is True
        assert await store_fanout.move(tx, event_id, **step) is False


@pytest.mark.parametrize(
    ("data", "words"), [('{"x":"\\ud800"}', "not JSON"), ('{"x":' + "[" * 250 + "]" * 250 + "}", "deeper than 200")]
)
async def test_a_batch_that_a_single_event_could_not_be_is_refused(office: Office, data: str, words: str) -> None:
    await office.ok(office.client.put(f"{TYPES}/strict", json={"schema": {"type": "object"}}), 201)
    body = f'{{"events":[{{"type":"strict","data":{data}}}]}}'.encode()
    refused = await office.client.post("/v1/webhooks/events/batch", content=body)
    assert refused.status_code in (400, 422), refused.text
    assert words in refused.text
    assert await office.rows("SELECT 1 FROM webhooks_events") == []


async def test_types_that_are_put_at_the_same_time_are_one_type(office: Office) -> None:
    for name in ("a", "b", "c"):
        answers = await asyncio.gather(
            *(office.client.put(f"{TYPES}/{name}", json={"description": str(n)}) for n in range(4))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]


@pytest.mark.parametrize("gone", ["finished", "purged"])
async def test_a_fan_out_that_can_never_move_again_ends(office: Office, gone: str) -> None:
    await many_endpoints(office, publishing.FANOUT_AT + 2)
    office.app.state.webhooks.catalogue.forget("acme")
    await publish(office)
    really = fanout._batch

    async def too_late(*given: Any) -> bool:
        if gone == "finished":
            await office.run("UPDATE webhooks_fanouts SET finished_at = 1")
        else:
            await office.run("DELETE FROM webhooks_fanouts")
        return await really(*given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fanout, "_batch", too_late)
        async with asyncio.timeout(10):
            await office.work_once()
    (job,) = await office.rows("SELECT state FROM job WHERE task = 'webhooks.fan_out'")
    assert job["state"] == "completed"
    assert await office.rows("SELECT * FROM webhooks_deliveries") == []


async def test_a_crowded_batch_leaves_those_that_keep_an_order_to_no_job(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events after the batch would overtake them."""
    monkeypatch.setattr(batches, "JOBS_MAX", 2)
    ordered = await office.endpoint("*", ordering="endpoint")
    await office.endpoint("*")
    events = [{"type": "a.b", "data": {"n": n}} for n in range(4)]
    answer = await office.ok(office.client.post("/v1/webhooks/events/batch", json={"events": events}), 202)
    links = await office.rows(
        "SELECT event_id FROM webhooks_deliveries WHERE endpoint_id = :id ORDER BY job_id", id=ordered["id"]
    )
    assert [row["event_id"] for row in links] == [item["id"] for item in answer["items"]]
    await office.work()
    assert len(await office.rows("SELECT * FROM webhooks_deliveries")) == 8


async def test_a_batch_makes_no_more_deliveries_at_once_than_a_transaction_should(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those to endpoints that keep an order cannot be left to a job; what is refused is overtaken by nothing."""
    monkeypatch.setattr(batches, "JOBS_MOST", 5)
    await office.endpoint("wide.*", ordering="endpoint")
    await office.endpoint("*", ordering="endpoint")
    kinds = ["wide", "wide", "wide", "slim", "slim"]
    events = [{"type": f"{kind}.b", "data": {"n": n}, "idempotency_key": f"{n}"} for n, kind in enumerate(kinds)]
    for status in ([202, 202, 413, 413, 413], [202, 202, 413, 413, 413]):
        answer = await office.ok(office.client.post("/v1/webhooks/events/batch", json={"events": events}), 202)
        assert [item["status"] for item in answer["items"]] == status
        error = answer["items"][2]["error"]
        assert (error["code"], error["limit"], error["found"]) == ("batch_too_large", 5, 6)
    assert len(await office.rows("SELECT * FROM webhooks_deliveries")) == 4
    answer = await office.ok(office.client.post("/v1/webhooks/events/batch", json={"events": events[2:4]}), 202)
    assert answer["accepted"] == 2
