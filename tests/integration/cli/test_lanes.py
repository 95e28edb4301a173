"""`holdfast queues` and `holdfast lanes`, against a running system."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.running import Up, the_system
from tests.integration.cli.conftest import Said

Run = Callable[..., Said]
LANE = "customer 7, é%"


@pytest.fixture(scope="module")
def up() -> Up:
    return the_system()


@pytest.fixture
def cli(holdfast: Run, up: Up, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(up.folder))
    return holdfast


def test_queues_are_listed_paused_and_resumed(cli: Run) -> None:
    paused = cli("queues", "pause", "media", "--json").json
    try:
        assert (paused["name"], paused["paused"]) == ("media", True)
        items = {item["name"]: item for item in cli("queues", "list", "--json").json["items"]}
        assert [name for name, item in items.items() if item["paused"]] == ["media"]
        assert paused["paused_at"] in cli("queues", "list").out
        assert f"media is paused since {paused['paused_at']}" in cli("queues", "pause", "media").out
    finally:
        resumed = cli("queues", "resume", "media")
    assert (resumed.code, resumed.out) == (0, "media goes on\n")
    said = cli("queues", "pause", "nothing")
    assert (said.code, said.sentence) == (1, "holdfast: there is no queue nothing")


def test_lanes_are_limited_paused_and_given_back(cli: Run) -> None:
    made = cli("lanes", "set", "api", LANE, "--concurrency", "3", "--rate", "2.5", "--burst", "4", "--json").json
    assert (made["name"], made["concurrency"], made["rate_per_s"], made["burst"]) == (LANE, 3, 2.5, 4)
    assert cli("lanes", "pause", "api", LANE, "--json").json["paused"] is True
    plain = cli("lanes", "list", "--queue", "api")
    assert (plain.code, plain.err) == (0, "")
    assert LANE in plain.out
    assert LANE in [item["name"] for item in cli("lanes", "list", "--json").json["items"]]
    resumed = cli("lanes", "resume", "api", LANE)
    assert resumed.out == f"api/{LANE} goes on, concurrency 3, rate_per_s 2.5\n"
    assert cli("lanes", "clear", "api", LANE, "--json").json == {"queue": "api", "name": LANE, "own": False}
    said = cli("lanes", "clear", "api", LANE)
    assert (said.code, said.sentence) == (1, f"holdfast: the lane {LANE} of api has no limits of its own")


def test_what_is_no_lane_is_refused_before_anything_is_sent(cli: Run) -> None:
    for words in (("lanes", "pause", "api", "a/b"), ("lanes", "set", "api", ".."), ("lanes", "clear", "api", "")):
        said = cli(*words)
        assert said.code == 2
        assert "1 to 200 printable characters" in said.sentence
    refused = cli("lanes", "set", "api", "x", "--concurrency", "0")
    assert refused.code == 1
    assert "concurrency" in refused.sentence
