"""The main job, over HTTP, against all that runs: from the request to the signed webhook, and back from the dead."""

from __future__ import annotations

from datetime import datetime
from email import message_from_bytes
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, wait_until
from tests.e2e.steps import PHOTO, delivery_of, endpoint, job_in, ok, processed, upload


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_signing_up_sends_one_welcome_email(up: Up, http: httpx.Client) -> None:
    made = ok(http.post("/v1/users", json={"email": "ada@example.com", "name": "Ada Lovelace"}), 201)
    assert ok(http.get(f"/v1/users/{made['id']}"))["email"] == "ada@example.com"
    job = job_in(http, made["job"], "completed")
    (attempt,) = job["attempts"]
    assert (job["task"], attempt["number"], attempt["outcome"]) == ("email.send_welcome", 1, "completed")
    assert seconds(job["created_at"]) <= seconds(attempt["started_at"]) <= seconds(attempt["finished_at"])
    letters = [message_from_bytes(path.read_bytes()) for path in Path(up.known["mail"]).glob("*.eml")]
    (letter,) = [one for one in letters if made["job"] in one["Message-ID"]]
    assert letter["To"] == "Ada Lovelace <ada@example.com>"


def test_a_photo_becomes_renditions_and_a_signed_webhook(http: httpx.Client, receiver: Receiver) -> None:
    hook = endpoint(http, receiver, "/photo", ["media.asset.processed.v1"])
    taken = upload(http)
    asset = processed(http, taken["id"])
    sides = {one["name"]: (max(one["width"], one["height"]), one["format"]) for one in asset["renditions"]}
    assert sides == {"w320": (320, "webp"), "w1280": (1280, "webp")}
    for one in asset["renditions"]:
        image = http.get(one["url"])
        assert image.headers["content-type"] == "image/webp"
        assert (image.content[:4], image.content[8:12]) == (b"RIFF", b"WEBP")
        assert len(image.content) == one["size_bytes"] < len(PHOTO.read_bytes())
    job = job_in(http, taken["job"], "completed")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["completed"]
    (letter,) = wait_until(lambda: receiver.at("/photo"), "delivered")
    payload = letter.verified(hook["secret"])
    assert payload["type"] == "media.asset.processed.v1"
    assert (payload["data"]["asset_id"], payload["data"]["job_id"]) == (taken["id"], taken["job"])
    event = ok(http.get(f"/v1/webhooks/events/{letter.headers['webhook-id']}"))
    assert event["data"] == payload["data"]
    with pytest.raises(Exception, match=r"(?i)signature"):
        letter.verified("whsec_" + "A" * 32)


def test_a_receiver_that_fails_twice_is_retried_on_its_own_schedule(http: httpx.Client, receiver: Receiver) -> None:
    receiver.replies["/flaky"] = [500, 500]
    hook = endpoint(http, receiver, "/flaky", ["e2e.flaky.v1"], retry_schedule_s=[0.3, 0.6])
    job = job_in(http, delivery_of(http, "e2e.flaky.v1"), "completed")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["failed", "failed", "completed"]
    assert [attempt["number"] for attempt in job["attempts"]] == [1, 2, 3]
    assert "500" in job["attempts"][0]["error"]["message"]
    waits = [seconds(b["started_at"]) - seconds(a["finished_at"]) for a, b in pairwise(job["attempts"])]
    assert waits[0] >= 0.3
    assert waits[1] >= 0.6
    letters = receiver.at("/flaky")
    assert len({letter.headers["webhook-id"] for letter in letters}) == 1
    assert [letter.verified(hook["secret"])["type"] for letter in letters] == ["e2e.flaky.v1"] * 3
    shown = ok(http.get(f"/v1/webhooks/deliveries/{job['id']}"))
    assert [attempt["status"] for attempt in shown["attempts"]] == [500, 500, 204]


def test_one_that_never_succeeds_is_a_dead_letter_and_comes_back(http: httpx.Client, receiver: Receiver) -> None:
    endpoint(http, receiver, "/bad", ["e2e.bad.v1"], retry_schedule_s=[0.1])
    delivery = delivery_of(http, "e2e.bad.v1")
    dead = job_in(http, delivery, "dead")
    assert len(dead["attempts"]) == 2
    inbox = ok(http.get("/v1/dead"))
    assert [item["id"] for item in inbox["items"]] == [delivery]
    (group,) = inbox["groups"]
    assert (group["count"], group["task"]) == (1, "webhooks.deliver")
    receiver.healed.add("/bad")
    assert ok(http.post("/v1/dead/retry", json={"group": group["group"]}))["retried"] == 1
    job = job_in(http, delivery, "completed")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["failed", "failed", "completed"]
    assert ok(http.get("/v1/dead"))["items"] == []


def test_the_audit_holds_while_it_runs(up: Up) -> None:
    done = up.cli("audit", "--json")
    assert done.returncode == 0, done.stdout
