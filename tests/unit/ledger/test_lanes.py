"""Lanes: never more under way than allowed, never faster than the rate and burst, ordered ones by their head only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.lane import LanePolicy
from shared.kernel.clock import SECOND_US
from shared.transport.lanes import Lanes, Row
from shared.transport.line import Candidate

LANE = ("t", "x")
NOW_US = 1_700_000_000 * SECOND_US


def one(number=0, lane="x"):
    return Candidate(number, f"job_{number:026d}", 5, "t", lane, "work")


def lanes(policy=None, *, paused=False, tat=0, row=True):
    made = Lanes({"work": policy} if policy and not row else {})
    made.note(LANE, Row(policy, paused, tat) if row else None)
    return made


def test_without_a_lane_nothing_holds_back():
    assert Lanes({}).admit(one(lane=None), NOW_US)


def test_a_lane_that_has_not_been_read_is_asked_for():
    made = Lanes({})
    assert not made.admit(one(), NOW_US)
    assert made.unread == {LANE}


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=80))
def test_never_more_under_way_than_the_limit(limit, ends):
    made, running = lanes(LanePolicy(concurrency=limit)), []
    for number, end in enumerate(ends):
        if end and running:
            assert made.ended([running.pop(0).id]) == {LANE}
        full = len(running) >= limit
        assert made.admit(one(number), NOW_US) == (not full)
        if not full:
            running.append(one(number))
        assert len(running) <= limit
        assert set(made.watched(100)) <= {job.id for job in running}
        if full:
            assert set(made.watched(100)) == {job.id for job in running}, "nobody would see the lane open again"


@given(st.floats(0.5, 1000), st.integers(1, 20), st.lists(st.integers(0, 3 * SECOND_US), min_size=1, max_size=200))
def test_never_faster_than_rate_and_burst_over_any_window(rate, burst, steps):
    made, now_us, starts = lanes(LanePolicy(rate_per_s=rate, burst=burst)), NOW_US, []
    for number, step in enumerate(steps):
        now_us += step
        if made.admit(one(number), now_us):
            starts.append(now_us)
        else:
            assert made.late[LANE] > now_us
            assert made.open_late(made.late[LANE]) == [LANE]
    for first, began in enumerate(starts):
        for last in range(first, len(starts)):
            allowed = burst + rate * (starts[last] - began) / SECOND_US
            assert last - first + 1 <= allowed + 1e-3 * (last - first + 1)


@given(st.floats(0.5, 1000), st.integers(1, 20))
def test_the_burst_is_there_at_once_and_again_after_a_rest(rate, burst):
    made = lanes(LanePolicy(rate_per_s=rate, burst=burst))
    assert sum(made.admit(one(number), NOW_US) for number in range(burst + 5)) == burst
    rested_us = NOW_US + round((burst + 1) * (SECOND_US / rate + 1))
    assert sum(made.admit(one(100 + number), rested_us) for number in range(burst + 5)) == burst


def test_the_next_relay_goes_on_with_the_tokens_that_were_written():
    policy = LanePolicy(rate_per_s=1, burst=3)
    made = lanes(policy)
    assert all(made.admit(one(number), NOW_US) for number in range(3))
    ((lane, tat),) = made.spent()
    assert lane == LANE
    assert made.spent() == []
    again = lanes(policy, tat=tat)
    assert not again.admit(one(9), NOW_US)
    assert again.admit(one(9), again.late[LANE])


def test_an_ordered_lane_starts_its_head_and_only_when_nothing_is_under_way():
    made = lanes(LanePolicy(ordered=True))
    assert not made.admit(one(1), NOW_US)
    assert made.headless == {LANE}
    made.set_head(LANE, one(1).id)
    assert made.admit(one(1), NOW_US)
    assert not made.admit(one(2), NOW_US)
    made.ended([one(1).id])
    assert not made.admit(one(2), NOW_US), "its head has not been looked up yet"


@pytest.mark.parametrize("row", [True, False])
def test_a_row_without_limits_of_its_own_leaves_them_to_the_command(row):
    made = Lanes({"work": LanePolicy(concurrency=1)})
    made.note(LANE, Row(None, paused=False, tat=0) if row else None)
    assert made.admit(one(1), NOW_US)
    assert not made.admit(one(2), NOW_US)


def test_a_faster_rate_is_not_held_back_by_what_a_slow_one_left_ahead():
    made = lanes(LanePolicy(rate_per_s=10, burst=2), tat=NOW_US + 3600 * SECOND_US)
    assert not made.admit(one(), NOW_US)
    assert made.late[LANE] <= NOW_US + SECOND_US // 10
    assert made.admit(one(), made.late[LANE])


@given(st.floats(0.5, 1000), st.integers(1, 20), st.integers(-(10**7), 10**7))
def test_the_tokens_that_are_shown_are_those_that_are_given(rate, burst, ahead):
    policy = LanePolicy(rate_per_s=rate, burst=burst)
    tat = min(NOW_US + ahead, NOW_US + burst * policy.interval_us)
    made = lanes(policy, tat=tat)
    assert policy.tokens(tat, NOW_US) == sum(made.admit(one(number), NOW_US) for number in range(burst + 3))


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 20))
def test_every_job_that_a_lane_waits_for_is_looked_at_in_turn(count, limit, most):
    """However many lanes are full: none is overlooked because others stand before it."""
    made = Lanes({"work": LanePolicy(concurrency=limit)})
    for number in range(count):
        name = ("t", f"x{number}")
        made.note(name, None)
        made.lane(name, "work")
        for job in range(limit):
            made.began(f"{number}/{job}", name)
        assert made.is_shut(name)
    seen = set()
    for _ in range(count):
        seen.update(made.watched(most))
    assert len(seen) == count * limit


def test_a_paused_lane_starts_nothing():
    assert not lanes(LanePolicy(), paused=True).admit(one(), NOW_US)


def test_a_lane_that_nobody_waited_for_is_looked_at_once_when_it_is_found_full():
    """The ends of its jobs were told while nobody listened: it may have been free for long."""
    made = lanes(LanePolicy(concurrency=2))
    assert made.admit(one(1), NOW_US)
    assert made.admit(one(2), NOW_US)
    assert made.watched(100) == []
    assert made.unlooked(100) == []
    assert not made.admit(one(3), NOW_US)
    assert set(made.unlooked(100)) == {one(1).id, one(2).id}
    assert not made.admit(one(3), NOW_US)
    assert made.unlooked(100) == [], "in one pass, once"
    assert set(made.watched(100)) == {one(1).id, one(2).id}
    made.ended([one(1).id])
    assert made.admit(one(3), NOW_US)
    assert not made.admit(one(4), NOW_US)
    assert made.unlooked(100) == [], "looked at when the pass began"
