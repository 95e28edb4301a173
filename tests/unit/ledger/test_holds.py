"""Why a job has not started: one reason, the first that it would meet; and how much room a lane has."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.lane import LanePolicy, is_lane_name
from shared.kernel.clock import SECOND_US
from shared.ledger.holds import JobFacts, LaneFacts, waiting_for

NOW_US = 1_700_000_000 * SECOND_US
FREE_LANE = LaneFacts("x", LanePolicy())
READY = JobFacts(id="job_b", state="ready", run_at=NOW_US, now_us=NOW_US, capacity=5, lane=FREE_LANE)


def lane(**changes):
    return replace(READY, lane=replace(FREE_LANE, **changes))


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (replace(READY, run_at=NOW_US + 1, queue_paused_at=5), {"kind": "future", "until": NOW_US + 1}),
        (replace(READY, children=2, queue_paused_at=5), {"kind": "children", "left": 2}),
        (replace(READY, queue_paused_at=5), {"kind": "paused", "what": "queue", "since": 5}),
        (replace(READY, state="dispatched", queue_paused_at=5), {"kind": "paused", "what": "queue", "since": 5}),
        (lane(paused_at=7), {"kind": "paused", "what": "lane", "since": 7}),
        (
            lane(policy=LanePolicy(concurrency=2), under_way=2),
            {"kind": "lane", "lane": "x", "under_way": 2, "limit": 2},
        ),
        (lane(policy=LanePolicy(ordered=True), under_way=1, head="job_a"), {"kind": "ordered", "behind": "job_a"}),
        (lane(policy=LanePolicy(ordered=True), head="job_b"), {"kind": "line", "behind": 0}),
        (
            lane(policy=LanePolicy(rate_per_s=1), tat=NOW_US + 9),
            {"kind": "rate", "lane": "x", "next_at": NOW_US + 9},
        ),
        (lane(policy=LanePolicy(rate_per_s=1), tat=NOW_US), {"kind": "line", "behind": 0}),
        (
            lane(held_until=NOW_US + 9, held_why="circuit_open", head="job_a"),
            {"kind": "held", "lane": "x", "why": "circuit_open", "until": NOW_US + 9},
        ),
        (lane(held_until=NOW_US), {"kind": "line", "behind": 0}),
        (lane(ceiling=1, under_way=1), {"kind": "lane", "lane": "x", "under_way": 1, "limit": 1}),
        (
            lane(group=LaneFacts("g", LanePolicy(), held_until=NOW_US + 9, held_why="circuit_open")),
            {"kind": "held", "lane": "g", "why": "circuit_open", "until": NOW_US + 9},
        ),
        (
            lane(group=LaneFacts("g", LanePolicy(concurrency=1), under_way=1)),
            {"kind": "lane", "lane": "g", "under_way": 1, "limit": 1},
        ),
        (lane(group=LaneFacts("g", LanePolicy(), paused_at=7)), {"kind": "paused", "what": "lane", "since": 7}),
        (replace(READY, capacity=0, ahead=3), {"kind": "no_worker"}),
        (replace(READY, state="dispatched", capacity=0), {"kind": "no_worker"}),
        (replace(READY, state="dispatched"), {"kind": "window"}),
        (replace(READY, state="dispatched", crashes=2), {"kind": "window", "alone": True}),
        (replace(READY, ahead=1_000), {"kind": "line", "behind": 1_000}),
        (replace(READY, ahead=1_001), {"kind": "line", "behind": "1000+"}),
        (replace(READY, state="running", queue_paused_at=5), None),
        (replace(READY, state="dead"), None),
    ],
)
def test_the_first_reason_wins(job, reason):
    assert waiting_for(job) == reason


@given(
    st.one_of(st.none(), st.integers(1, 9)), st.one_of(st.none(), st.floats(0.1, 100)), st.integers(1, 9),
    st.integers(0, 12), st.integers(-10 * SECOND_US, 100 * SECOND_US), st.booleans(),
)  # fmt: skip
def test_a_lane_with_room_is_no_reason_and_one_without_is_one(limit, rate, burst, under_way, ahead_us, paused):
    policy = LanePolicy(concurrency=limit, rate_per_s=rate, burst=burst)
    facts = LaneFacts("x", policy, paused_at=1 if paused else None, tat=NOW_US + ahead_us, under_way=under_way)
    reason = waiting_for(replace(READY, lane=facts))
    assert (facts.room(NOW_US) == 0) == (reason["kind"] in ("paused", "lane", "rate"))


@pytest.mark.parametrize("name", ["a", "customer 7", "é/".strip("/"), "日本", "a%2Fb", "x" * 200, "..."])
def test_what_a_lane_may_be_called(name):
    assert is_lane_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "a\x00", "\x7f", "x" * 201, ".", "..", "\ud800", "a\u2028b"])
def test_what_it_may_not(name):
    assert not is_lane_name(name)
