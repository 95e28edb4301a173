"""Idempotency-Key on every POST of the front: ten at once have one effect and get one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.kernel.ids import new_id
from tests.e2e.receiver import Receiver
from tests.e2e.running import Up
from tests.e2e.steps import PHOTO, dead_delivery, delivery_of, endpoint, job_in, ok
from tests.e2e.walk import routes

AT_ONCE = 10
PURGE = "upkeep.purge_history"
TABLES = ("job", "api_users", "webhooks_endpoints", "webhooks_events", "media_assets")
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
    return {"dead": [dead_delivery(http, "e2e.once.v1") for _ in range(4)], "later": later, "spare": spare}


def _hook(action: str, number: int, **rows: int) -> Callable[[Target], Case]:
    return lambda target: (f"/v1/webhooks/endpoints/{target['spare'][number]}/{action}", {}, rows)


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
    "/v1/webhooks/endpoints": lambda _: (
        "/v1/webhooks/endpoints", {"json": {"url": "http://127.0.0.1:9/x", "event_types": ["e2e.x.v1"]}},
        {"webhooks_endpoints": 1},
    ),
    "/v1/webhooks/endpoints/{endpoint_id}/rotate-secret": _hook("rotate-secret", 0),
    "/v1/webhooks/endpoints/{endpoint_id}/enable": _hook("enable", 1),
    "/v1/webhooks/endpoints/{endpoint_id}/disable": _hook("disable", 2),
    "/v1/webhooks/endpoints/{endpoint_id}/test": _hook("test", 3, webhooks_events=1, job=1),
    "/v1/webhooks/deliveries/{delivery_id}/retry": lambda target: (
        f"/v1/webhooks/deliveries/{target['dead'][3]}/retry", {}, {}
    ),
    "/v1/media": lambda _: (
        "/v1/media", {"content": PHOTO.read_bytes(), "headers": {"Content-Type": "image/jpeg"}},
        {"media_assets": 1, "job": 1},
    ),
    "/v1/lanes/{queue}/{name}/pause": lambda _: ("/v1/lanes/api/once/pause", {}, {}),
    "/v1/lanes/{queue}/{name}/resume": lambda _: ("/v1/lanes/api/once/resume", {}, {}),
    "/v1/queues/{name}/pause": lambda _: ("/v1/queues/api/pause", {}, {}),
    "/v1/queues/{name}/resume": lambda _: ("/v1/queues/api/resume", {}, {}),
    "/v1/schedules/{schedule_id}/pause": lambda _: (f"/v1/schedules/{PURGE}/pause", {}, {}),
    "/v1/schedules/{schedule_id}/resume": lambda _: (f"/v1/schedules/{PURGE}/resume", {}, {}),
    "/v1/schedules/{schedule_id}/run": lambda _: (f"/v1/schedules/{PURGE}/run", {}, {}),  # a job of the system's
}  # fmt: skip


def test_every_post_has_its_case(tmp_path: Path) -> None:
    assert sorted(path for method, path in routes(tmp_path) if method == "POST") == sorted(CASES)


def counts(up: Up) -> Counter[str]:
    """Rows of the tenant; what a finished upload publishes counts as its own, later."""
    owned = "SELECT count(*) FROM {} WHERE tenant = 'idempotency'"
    later = {"job": " AND task <> 'webhooks.publish_event'", "webhooks_events": " AND type NOT LIKE 'media.%'"}
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
