"""Small steps of a client's story over HTTP, each with what must hold after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

import holdfast
from tests.e2e.receiver import Receiver
from tests.e2e.running import wait_until

PHOTO = Path(holdfast.__file__).parent / "demo" / "photo.jpg"
ENDED = ("completed", "dead", "cancelled")


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def job_in(http: httpx.Client, job_id: str, *states: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = ok(http.get(f"/v1/jobs/{job_id}"))
        return shown if shown["state"] in states else None

    found: dict[str, Any] = wait_until(look, f"{job_id} {' or '.join(states)}")
    return found


def endpoint(http: httpx.Client, receiver: Receiver, path: str, types: list[str], **given: Any) -> dict[str, Any]:
    body = {"url": receiver.url(path), "event_types": types, **given}
    made: dict[str, Any] = ok(http.post("/v1/webhooks/endpoints", json=body), 201)
    return made


def delivery_of(http: httpx.Client, event_type: str) -> str:
    """Publish an event that one endpoint wants; the id of its delivery."""
    event = ok(http.post("/v1/webhooks/events", json={"type": event_type, "data": {"n": 1}}), 202)
    assert event["deliveries"] == 1
    (line,) = ok(http.get("/v1/webhooks/deliveries", params={"event_id": event["id"]}))["items"]
    return str(line["id"])


def dead_delivery(http: httpx.Client, event_type: str) -> str:
    """A delivery to an endpoint at `/bad…` without retries, once it is dead."""
    delivery = delivery_of(http, event_type)
    job_in(http, delivery, "dead")
    return delivery


def upload(http: httpx.Client, **headers: str) -> dict[str, Any]:
    content = PHOTO.read_bytes()
    taken: dict[str, Any] = ok(
        http.post("/v1/media", content=content, headers={"Content-Type": "image/jpeg", **headers}), 202
    )
    return taken


def processed(http: httpx.Client, asset_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = ok(http.get(f"/v1/media/{asset_id}"))
        assert shown["state"] != "failed", shown
        return shown if shown["state"] == "processed" else None

    found: dict[str, Any] = wait_until(look, f"{asset_id} processed")
    return found
