"""Idempotency-Key on every POST of the front: ten at once have one effect and get one answer."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.kernel.ids import new_id
from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, wait_until
from tests.e2e.steps import PHOTO, dead_delivery, delivery_of, endpoint, job_in, ok, processed, upload
from tests.e2e.walk import routes

AT_ONCE = 10
PURGE = "upkeep.purge_history"
TABLES = ("job", "api_users", "webhooks_endpoints", "webhooks_events", "media_assets", "media_uploads")
Case = tuple[str, dict[str, Any], dict[str, int]]  # url, request options, rows that one request adds
Target = dict[str, Any]


@pytest.fixture(scope="module")
def target(http: httpx.Client, receiver: Receiver) -> Target:
    """Things to post to, each in the state in which the post means something."""
    endpoint(http, receiver, "/bad-once", ["e2e.once.v1"], retry_schedule_s=[])
    endpoint(http, receiver, "/bad-later", ["e2e.later.v1"], retry_schedule_s=[3600])
    later = delivery_of(http, "e2e.later.v1")
    job_in(http, later, "retrying")
    spare = [endpoint(http, receiver, f"/spare-{n}", ["e2e.spare.v1"])["id"] for n in range(4)]
    ok(http.post(f"/v1/webhooks/endpoints/{spare[1]}/disable"))
    ok(http.post("/v1/webhooks/events/batch", json={"events": 2 * [{"type": "e2e.missed.v1", "data": {}}]}), 202)
    spare.append(endpoint(http, receiver, "/late", ["e2e.missed.v1"])["id"])
    return {
        "http": http,
        "dead": [dead_delivery(http, "e2e.once.v1") for _ in range(4)],
        "later": later,
        "spare": spare,
    }


def _hook(action: str, number: int, **rows: int) -> Callable[[Target], Case]:
    return lambda target: (f"/v1/webhooks/endpoints/{target['spare'][number]}/{action}", {}, rows)


def _slow_replay(target: Target) -> Case:
    """One that has sent the first of two, and will not send the other for ten seconds."""
    http: httpx.Client = target["http"]
    asked = {"what": "missing", "endpoint_id": target["spare"][4], "since": _ago(3600), "rate_per_s": 0.1}
    path = f"/v1/webhooks/replays/{ok(http.post('/v1/webhooks/replays', json=asked), 202)['id']}"
    wait_until(lambda: ok(http.get(path))["sent"] == 1, "the first is sent")
    return f"{path}/cancel", {}, {}


def _waiting_asset(target: Target) -> Case:
    """One whose bytes are not fetched, because the lane of this tenant's fetches is paused."""
    http: httpx.Client = target["http"]
    ok(http.post("/v1/lanes/media/bring:idempotency/pause"))
    asset = ok(http.post("/v1/media/from-url", json={"url": "http://127.0.0.1:9/never.jpg"}), 202)["id"]
    return f"/v1/media/{asset}/cancel", {}, {}


def _made_asset(target: Target) -> Case:
    http: httpx.Client = target["http"]
    asset = upload(http)["id"]
    processed(http, asset)
    return f"/v1/media/{asset}/reprocess", {}, {"job": 1}


def _ago(seconds: float) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)).isoformat()


CASES: dict[str, Callable[[Target], Case]] = {
    "/v1/users": lambda _: (
        "/v1/users", {"json": {"email": "once@example.com", "name": "Once"}}, {"api_users": 1, "job": 1}
    ),
    "/v1/prompts": lambda _: ("/v1/prompts", {"json": {"prompt": "Once?"}}, {"job": 1}),
    "/v1/jobs/{job_id}/retry": lambda target: (f"/v1/jobs/{target['dead'][0]}/retry", {}, {}),
    "/v1/jobs/{job_id}/cancel": lambda target: (f"/v1/jobs/{target['later']}/cancel", {}, {}),
    "/v1/dead/retry": lambda target: ("/v1/dead/retry", {"json": {"ids": [target["dead"][1]]}}, {}),
    "/v1/dead/discard": lambda target: ("/v1/dead/discard", {"json": {"ids": [target["dead"][2]]}}, {}),
    "/v1/webhooks/events": lambda _: (
        "/v1/webhooks/events", {"json": {"type": "e2e.none.v1", "data": {"n": 1}}}, {"webhooks_events": 1}
    ),
    "/v1/webhooks/events/batch": lambda _: (
        "/v1/webhooks/events/batch", {"json": {"events": [{"type": "e2e.none.v1", "data": {}}]}}, {"webhooks_events": 1}
    ),
    "/v1/webhooks/event-types": lambda _: ("/v1/webhooks/event-types", {"json": {"name": "e2e.typed.v1"}}, {}),
    "/v1/webhooks/replays": lambda target: (
        "/v1/webhooks/replays",
        {"json": {"what": "failed", "endpoint_id": target["spare"][0], "since": _ago(1)}}, {"job": 1},
    ),
    "/v1/webhooks/replays/{replay_id}/cancel": _slow_replay,
    "/v1/webhooks/endpoints": lambda _: (
        "/v1/webhooks/endpoints", {"json": {"url": "http://127.0.0.1:9/x", "event_types": ["e2e.x.v1"]}},
        {"webhooks_endpoints": 1},
    ),
    "/v1/webhooks/endpoints/{endpoint_id}/rotate-secret": _hook("rotate-secret", 0),
    "/v1/webhooks/endpoints/{endpoint_id}/enable": _hook("enable", 1),
    "/v1/webhooks/endpoints/{endpoint_id}/disable": _hook("disable", 2),
    "/v1/webhooks/endpoints/{endpoint_id}/test": _hook("test", 3, job=1),
    "/v1/webhooks/endpoints/{endpoint_id}/verify": _hook("verify", 3, job=1),
    "/v1/webhooks/deliveries/{delivery_id}/retry": lambda target: (
        f"/v1/webhooks/deliveries/{target['dead'][3]}/retry", {}, {}
    ),
    "/v1/media": lambda _: (
        "/v1/media", {"content": PHOTO.read_bytes(), "headers": {"Content-Type": "image/jpeg"}},
        {"media_assets": 1, "job": 1},
    ),
    "/v1/media/{asset_id}/cancel": _waiting_asset,
    "/v1/media/{asset_id}/reprocess": _made_asset,
    "/v1/media/from-url": lambda _: (
        "/v1/media/from-url", {"json": {"url": "http://127.0.0.1:9/once.jpg"}}, {"media_assets": 1, "job": 1}
    ),
    "/v1/media/uploads": lambda _: (
        "/v1/media/uploads", {"headers": {"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}}, {"media_uploads": 1}
    ),
    "/v1/lanes/{queue}/{name}/pause": lambda _: ("/v1/lanes/api/once/pause", {}, {}),
    "/v1/lanes/{queue}/{name}/resume": lambda _: ("/v1/lanes/api/once/resume", {}, {}),
    "/v1/queues/{name}/pause": lambda _: ("/v1/queues/api/pause", {}, {}),
    "/v1/queues/{name}/resume": lambda _: ("/v1/queues/api/resume", {}, {}),
    "/v1/schedules/{schedule_id}/pause": lambda _: (f"/v1/schedules/{PURGE}/pause", {}, {}),
    "/v1/schedules/{schedule_id}/resume": lambda _: (f"/v1/schedules/{PURGE}/resume", {}, {}),
    "/v1/schedules/{schedule_id}/run": lambda _: (f"/v1/schedules/{PURGE}/run", {}, {}),  # a job of the system's
}  # fmt: skip


# tests/integration/media/test_direct.py sends these twice: a directory signs nothing.
OF_BUCKETS = {"/v1/media/direct", "/v1/media/direct/{upload_id}/complete"}


def test_every_post_has_its_case(tmp_path: Path) -> None:
    posts = {path for method, path in routes(tmp_path) if method == "POST"}
    assert posts - OF_BUCKETS == set(CASES)


def counts(up: Up) -> Counter[str]:
    """Rows of the tenant; what the end of an upload or a reprocessing brings counts as its own, later."""
    owned = "SELECT count(*) FROM {} WHERE tenant = 'idempotency'"
    of_ends = " AND task NOT IN ('webhooks.publish_event', 'media.delete_renditions')"
    later = {"job": of_ends, "webhooks_events": " AND type NOT LIKE 'media.%'"}
    queries = {table: owned.format(table) + later.get(table, "") for table in TABLES}
    return Counter({table: up.rows(query)[0][0] for table, query in queries.items()})


@pytest.mark.parametrize("path", CASES)
def test_ten_at_once_have_one_effect_and_one_answer(up: Up, http: httpx.Client, target: Target, path: str) -> None:
    url, options, rows = CASES[path](target)
    headers = {**options.pop("headers", {}), "Idempotency-Key": new_id("once")}
    before = counts(up)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sent = [threads.submit(http.post, url, headers=headers, **options) for _ in range(AT_ONCE)]
        answers = [one.result() for one in sent]
    assert {answer.status_code for answer in answers} <= {200, 201, 202}, [answer.text for answer in answers]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    assert sum("idempotent-replay" in answer.headers for answer in answers) == AT_ONCE - 1
    assert len({answer.headers.get("location") for answer in answers}) == 1
    assert counts(up) - before == Counter(rows)
    if path.startswith("/v1/dead"):
        assert {answer.json().get("retried", answer.json().get("discarded")) for answer in answers} == {1}


def test_a_key_again_with_another_body_is_refused(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": new_id("once")}
    first = http.post("/v1/webhooks/events", json={"type": "e2e.none.v1", "data": {"n": 1}}, headers=headers)
    other = http.post("/v1/webhooks/events", json={"type": "e2e.none.v1", "data": {"n": 2}}, headers=headers)
    assert first.status_code == 202
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
