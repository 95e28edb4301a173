"""A walk over every route of the front: without a key, without the scope, and as another tenant, who sees nothing."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import httpx

from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, wait_until
from tests.e2e.steps import dead_delivery, endpoint, ok, processed, upload
from tests.e2e.walk import BODIES, OWN, QUERIES, SHARED, routes

PURGE = "upkeep.purge_history"
TYPE = "e2e.tenancy.typed.v1"
TABLES = (
    "job",
    "job_attempt",
    "api_users",
    "webhooks_endpoints",
    "webhooks_events",
    "webhooks_event_types",
    "media_assets",
    "media_preset_sets",
    "media_uploads",
)


def belongings(http: httpx.Client, receiver: Receiver) -> dict[str, str]:
    """One of everything that a tenant can have, by the name that paths give it."""
    user = ok(http.post("/v1/users", json={"email": "grace@example.com", "name": "Grace"}), 201)
    hook = endpoint(http, receiver, "/bad-walk", ["e2e.tenancy.v1"], retry_schedule_s=[])
    dead = dead_delivery(http, "e2e.tenancy.v1")
    event = ok(http.get(f"/v1/webhooks/deliveries/{dead}"))["event_id"]
    test = ok(http.post(f"/v1/webhooks/endpoints/{hook['id']}/test", json={"wait_s": 30}))["id"]
    ok(http.post("/v1/webhooks/event-types", json={"name": TYPE, "description": "Ours"}), 201)
    since = dt.datetime.now(dt.UTC).isoformat()
    asked = {"what": "failed", "endpoint_id": hook["id"], "since": since}
    replay = ok(http.post("/v1/webhooks/replays", json=asked), 202)["id"]
    ok(http.put("/v1/media/presets/family", json={"image": [{"name": "w9", "width": 9}]}), 201)
    asset = upload(http)["id"]
    processed(http, asset)
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
    upload_id = http.post("/v1/media/uploads", headers=tus).headers["location"].rpartition("/")[2]
    return {
        "user_id": user["id"], "job_id": dead, "endpoint_id": hook["id"], "event_id": event, "delivery_id": dead,
        "upload_id": upload_id, "test_id": test, "replay_id": replay,
        "asset_id": asset, "name": "w320", "schedule_id": PURGE, "action_id": "act_none",
        "sha256": "0" * 64,
    }  # fmt: skip


def snapshot(up: Up) -> dict[str, list[tuple[object, ...]]]:
    found = {}
    for table in TABLES:
        columns = [row[1] for row in up.rows(f"PRAGMA table_info({table})")]
        owner = (
            "tenant = 'tenancy'" if "tenant" in columns else "job_id IN (SELECT id FROM job WHERE tenant = 'tenancy')"
        )
        found[table] = up.rows(f"SELECT * FROM {table} WHERE {owner} ORDER BY 1, 2")
    return found


MOVING = """
    SELECT id FROM job WHERE tenant = 'tenancy'
       AND (state IN ('dispatched', 'running') OR (state = 'ready' AND run_at <= ?))
"""


def url_of(path: str, ours: dict[str, str]) -> str:
    names = {**ours, "queue": "api"}
    if path.startswith("/v1/queues"):
        names["name"] = "api"
    if path.startswith("/v1/webhooks/event-types"):
        names["name"] = TYPE
    if path.startswith("/v1/media/presets"):
        names["name"] = "family"
    return (path + QUERIES.get(path, "")).format(**names)


def test_no_route_shows_or_changes_what_is_anothers(
    up: Up, http: httpx.Client, receiver: Receiver, tmp_path: Path
) -> None:
    ours = belongings(http, receiver)
    wait_until(lambda: not up.rows(MOVING, time.time_ns() // 1000), "our own jobs still move")
    before = snapshot(up)
    assert all(before.values()), "there is nothing that could be shown"
    secrets = {*ours.values(), "grace@example.com"} - {"w320", PURGE, "act_none", "0" * 64}
    scope = "metrics:read"
    walked = 0
    with up.client() as anonymous, up.client("tenancy", scope) as scopeless, up.client("mallory") as other:
        del anonymous.headers["Authorization"]
        for method, path in routes(tmp_path):
            walked += 1
            url, body = url_of(path, ours), BODIES.get((method, path))
            where = f"{method} {url}"
            answer = anonymous.request(method, url, json=body)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), where
            if path != "/metrics":
                answer = scopeless.request(method, url, json=body)
                assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), where
                assert answer.json()["missing_scope"], where
            answer = other.request(method, url, json=body)
            if path in SHARED or (method, path) in OWN:
                assert answer.status_code in (200, 201, 202), where
            elif "{" in path or path in QUERIES:
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), where
            elif method == "GET":
                assert answer.json()["items"] == [], where
            assert [one for one in secrets if one in answer.text.replace(url, "") and one not in url] == [], where
    assert walked >= 30, "routes were lost on the way"
    assert snapshot(up) == before


def test_a_key_without_the_scope_of_metrics(up: Up) -> None:
    with up.client("tenancy", "jobs:read") as http:
        assert http.get("/metrics").status_code == 403


def test_ids_of_others_in_a_body_are_unknown(up: Up, http: httpx.Client, receiver: Receiver) -> None:
    endpoint(http, receiver, "/bad-bulk", ["e2e.bulk.v1"], retry_schedule_s=[])
    dead = dead_delivery(http, "e2e.bulk.v1")
    with up.client("mallory") as other:
        for path in ("/v1/dead/retry", "/v1/dead/discard"):
            assert ok(other.post(path, json={"ids": [dead]}))["unknown"] == [dead]
        for query in ({"event_id": "evt_x"}, {"endpoint_id": "ep_x"}):
            assert ok(other.get("/v1/webhooks/deliveries", params=query))["items"] == []
    assert ok(http.get(f"/v1/jobs/{dead}"))["state"] == "dead"


def test_what_is_not_there_needs_a_key_as_well(up: Up) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{up.port}") as anonymous:
        for path in ("/", "/v1", "/v1/nothing", "/v1/webhooks", "/v1/media/x/y/z", "/v1/jobs/../jobs", "/docs"):
            assert anonymous.get(path).status_code == 401, path
        assert anonymous.get("/healthz").status_code == 200
        assert anonymous.get("/readyz").json() == {"status": "ready", "missing": []}
