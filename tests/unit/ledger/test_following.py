"""What a follower is told: no id twice in a row, nothing when nothing is new, and the same after a cut as without."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.following import Seen, Told, parse_id, tell
from shared.ledger.states import TERMINAL

BASE_US = 1_000_000


def row(**changes: Any) -> dict[str, Any]:
    plain = {
        "id": "job_1", "state": "ready", "run_at": BASE_US, "waits_for": 0, "attempt": 0, "max_attempts": 3,
        "fence": 0, "claimed_at": None, "finished_at": None, "progress": None, "progress_note": None,
        "progress_at": None, "output_chunks": 0,
    }  # fmt: skip
    return plain | changes


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[dict[str, Any], int]]:
    """A job's rows as time passes, each with when it was looked at."""
    now_us, now = BASE_US + 10, row(run_at=BASE_US + draw(st.sampled_from([0, 25])))
    life = [(now, now_us)]
    for step in draw(
        st.lists(st.sampled_from(["claim", "report", "write", "end", "fail", "retry", "wait"]), max_size=25)
    ):
        now_us += draw(st.integers(1, 20))
        running = now["state"] == "running"
        if step == "claim" and now["state"] == "ready":
            cleared = {"progress": None, "progress_note": None, "progress_at": None, "output_chunks": 0}
            now = now | cleared | {"state": "running", "fence": now["fence"] + 1, "claimed_at": now_us}
        elif step == "report" and running:
            now = now | {"progress": 0.5, "progress_note": "", "progress_at": now_us}
        elif step == "write" and running:
            now = now | {"output_chunks": now["output_chunks"] + draw(st.integers(1, 3))}
        elif step == "end" and running:
            state = draw(st.sampled_from(sorted(TERMINAL)))
            now = now | {"state": state, "attempt": now["attempt"] + 1, "finished_at": now_us}
        elif step == "fail" and running:
            now = now | {"state": "ready", "attempt": now["attempt"] + 1, "run_at": now_us + 5}
        elif step == "retry" and now["state"] in ("dead", "cancelled"):
            now = now | {"state": "ready", "attempt": 0, "finished_at": None, "run_at": now_us}
        life.append((now, now_us))
    return life


def followed(seen: Seen | None, life: list[tuple[dict[str, Any], int]]) -> list[Told]:
    told: list[Told] = []
    for look, now_us in life:
        told += tell(told[-1].seen if told else seen, look, now_us)
    return told


@given(lives(), st.data())
def test_an_id_is_never_told_twice_and_says_all_that_was_seen(life: list[Any], data: st.DataObject) -> None:
    told = followed(None, life)
    ids = [one.seen.id for one in told]
    assert all(sooner != later for sooner, later in pairwise(ids))
    assert len(ids) == len(set(ids))
    for one in told:
        assert parse_id(one.seen.id) == one.seen
    last_look, last_us = life[-1]
    assert tell(told[-1].seen, last_look, last_us) == [], "nothing is new"
    # Cut anywhere, and resumed by the id alone: whoever comes back is told the same as whoever had stayed.
    at = data.draw(st.integers(0, len(life) - 1))
    before = followed(None, life[: at + 1])
    resumed = followed(parse_id(before[-1].seen.id), life[at:])
    assert before + resumed == told
    # And where looks were missed in between, the end is the same.
    jumped = tell(parse_id(before[-1].seen.id), last_look, last_us)
    assert (jumped[-1].seen if jumped else before[-1].seen) == told[-1].seen


@given(lives())
def test_a_result_ends_what_is_told_and_comes_with_every_end(life: list[Any]) -> None:
    seen = None
    for look, now_us in life:
        told = tell(seen, look, now_us)
        kinds = [one.kind for one in told]
        assert "result" not in kinds[:-1]
        if told:
            assert (kinds[-1] == "result") == (look["state"] in TERMINAL)
            seen = told[-1].seen


def test_the_last_report_is_told_before_the_end_of_its_attempt() -> None:
    seen = tell(None, row(state="running", fence=1, claimed_at=5, progress=0.1, progress_at=6), 10)[-1].seen
    ended = row(state="completed", fence=1, attempt=1, finished_at=9, progress=1.0, progress_note="all", progress_at=8)
    told = tell(seen, ended, 10)
    assert [one.kind for one in told] == ["progress", "state", "result"]
    assert (told[0].data["fraction"], told[0].data["attempt"], told[1].data["state"]) == (1.0, 1, "completed")


def test_waiting_turns_into_a_place_in_the_queue_by_the_clock_alone() -> None:
    later = row(run_at=BASE_US)
    (first,) = tell(None, later, BASE_US - 1)
    (second,) = tell(first.seen, later, BASE_US)
    assert (first.data["state"], second.data["state"], second.data["attempt"]) == ("scheduled", "queued", 0)


@given(st.text(max_size=120))
def test_an_id_that_is_not_ours_is_no_id(text: str) -> None:
    found = parse_id(text)
    assert found is None or found.id == text or text.startswith("0") or ".0" in text
    for wrong in (
        "",
        "x",
        "1.running.5",
        "1.running.5.0.result.",
        "1.RUNNING.5.0",
        "-1.running.5.0",
        "1.running.5.\u0660",
    ):
        assert parse_id(wrong) is None
