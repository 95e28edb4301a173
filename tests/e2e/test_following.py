"""A picture followed from its upload to its renditions, through the one front door, by HTTP and by the command line."""

from __future__ import annotations

import json

import httpx

from shared.runtime.sse import Reader
from tests.e2e.running import Up
from tests.e2e.steps import PHOTO, ok


def test_a_picture_is_followed_to_its_end(up: Up, http: httpx.Client) -> None:
    headers = {"Content-Type": "image/jpeg"}
    asset = ok(http.post("/v1/media", content=PHOTO.read_bytes(), headers=headers), 202)
    reader, events = Reader(), []
    with http.stream("GET", f"/v1/jobs/{asset['job']}/events") as answer:
        assert answer.status_code == 200
        for piece in answer.iter_raw():
            events += reader.feed(piece)
    told = [(event.name, json.loads(event.data)) for event in events]
    fractions = [data["fraction"] for name, data in told if name == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [name for name, _ in told][-2:] == ["state", "result"] or told[-2][0] == "progress"
    assert (told[-1][1]["state"], told[-1][1]["progress"]["note"]) == ("completed", "stored")
    shown = ok(http.get(f"/v1/media/{asset['id']}"))
    assert (shown["state"], shown["progress"]["fraction"]) == ("processed", 1.0)


def test_the_command_line_follows_the_local_system(up: Up) -> None:
    with up.client() as http:
        headers = {"Content-Type": "image/jpeg"}
        job = ok(http.post("/v1/media", content=PHOTO.read_bytes(), headers=headers), 202)["job"]
    said = up.cli("jobs", "watch", job, "--json")
    assert said.returncode == 0, said.stderr
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert lines[-1]["event"] == "result"
    assert lines[-1]["data"]["result"] == {"renditions": ["w320", "w1280"]}
