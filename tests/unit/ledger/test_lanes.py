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


def test_a_held_lane_starts_nothing_before_its_instant():
    made = Lanes({})
    made.note(LANE, Row(None, paused=False, tat=0, held_until=NOW_US + 5))
    assert not made.admit(one(), NOW_US)
    assert made.late == {LANE: NOW_US + 5}
    assert made.open_late(NOW_US + 5) == [LANE]
    assert made.admit(one(), NOW_US + 5)


@pytest.mark.parametrize(("limit", "ceiling", "room"), [(None, 2, 2), (5, 2, 2), (2, 5, 2)])
def test_a_ceiling_is_below_the_limit_or_is_none(limit, ceiling, room):
    made = Lanes({})
    made.note(LANE, Row(LanePolicy(concurrency=limit), paused=False, tat=0, ceiling=ceiling))
    assert sum(made.admit(one(number), NOW_US) for number in range(9)) == room


GROUPED = LanePolicy(concurrency=3, ordered=True, grouped=True)


def in_group(*names, row=None):
    made = Lanes({"work": GROUPED})
    made.note(("t", "g"), row)
    for name in names:
        made.note(("t", name), None)
    return made


def start(made, number, lane, now_us=NOW_US):
    """As the chooser does: a head is looked up, then admitted."""
    job = one(number, lane)
    if not made.admit(job, now_us) and job.lane_id in made.headless:
        made.headless.clear()
        made.set_head(job.lane_id, job.id)
        return made.admit(job, now_us)
    return job.id in made._owner


@pytest.mark.parametrize(
    ("row", "at_once"),
    [
        (None, 3),
        (Row(LanePolicy(concurrency=1), paused=False, tat=0), 1),
        (Row(None, paused=False, tat=0, ceiling=2), 2),
        (Row(None, paused=True, tat=0), 0),
        (Row(None, paused=False, tat=0, held_until=NOW_US + 1), 0),
        (Row(LanePolicy(rate_per_s=1, burst=2), paused=False, tat=0), 2),
    ],
)
def test_a_groups_row_bounds_the_lanes_in_it_together(row, at_once):
    names = [f"g:{number}" for number in range(5)]
    made = in_group(*names, row=row)
    assert sum(start(made, number, name) for number, name in enumerate(names)) == at_once
    if row is not None and row.policy is not None and row.policy.rate_per_s:
        ((name, tat),) = made.spent()
        assert (name, tat) == (("t", "g"), NOW_US + 2 * SECOND_US)


def test_a_stuck_lane_of_a_group_leaves_the_others_their_turn():
    made = in_group("g:a", "g:b")
    assert start(made, 1, "g:a")
    assert not start(made, 2, "g:a"), "one at a time, in order"
    assert start(made, 3, "g:b")


def test_whoever_orders_a_group_orders_each_lane_in_it_by_itself():
    made = Lanes({"t": LanePolicy(concurrency=5, grouped=True)})
    for name in ("g", "g:a", "g:b"):
        made.note(
            ("x", name), Row(LanePolicy(concurrency=5, ordered=True), paused=False, tat=0) if name == "g" else None
        )
    assert [made.lane(("x", name), "t").policy.ordered for name in ("g:a", "g:b")] == [True, True]
    assert made.lane(("x", "g:a"), "t").limit == 1
    assert made.lane(("y", "g:a"), "t").policy.ordered is False


def test_what_is_not_grouped_stands_alone():
    made = Lanes({"work": LanePolicy(concurrency=1)})
    made.note(("t", "g"), Row(None, paused=True, tat=0))
    made.note(("t", "g:a"), None)
    assert made.admit(one(1, "g:a"), NOW_US)


class Grouped:
    """A group's lanes with a job each, served as the chooser does; those of `stuck` have nothing that may start."""

    def __init__(self, count, policy, stuck=frozenset()):
        self.names = [f"g:{number}" for number in range(count)]
        self.made = in_group(*self.names, row=Row(policy, paused=False, tat=0))
        self.waiting = dict(enumerate(self.names))
        self.stuck = {("t", self.names[number]) for number in stuck if number < count}
        self.blocked, self.running = set(), []

    def serve(self, now_us):
        """One pass: true when another one at the same instant may bring more."""
        self.blocked -= {*self.made.open_late(now_us), *self.made.let_in(now_us)}
        for number, name in list(self.waiting.items()):
            lane = ("t", name)
            if lane in self.blocked:
                continue
            if lane not in self.stuck and start(self.made, number, name, now_us):
                self.running.append(one(number).id)
                del self.waiting[number]
            else:
                self.made.admit(one(number, name), now_us)
                self.made.headless.clear()  # its head is not due: what may start it is another lane's matter
                self.blocked.add(lane)
        return self.made.may_let_in(now_us)

    @property
    def served(self):
        return not [name for name in self.waiting.values() if ("t", name) not in self.stuck]


@given(st.integers(1, 200), st.integers(1, 5), st.sets(st.integers(0, 199)), st.randoms())
def test_every_lane_of_a_full_group_gets_its_turn(count, limit, stuck, rng):
    """Whoever was held back is let in by an end, and nothing waits for an end that nobody looks for."""
    grouped = Grouped(count, LanePolicy(concurrency=limit), stuck)
    while True:
        while grouped.serve(NOW_US):
            pass
        assert len(grouped.running) <= limit
        if grouped.served:
            break
        assert grouped.running, "somebody waits, and nothing will wake it"
        assert set(grouped.running) <= set(grouped.made.watched(10_000))
        ended = grouped.running.pop(rng.randrange(len(grouped.running)))
        grouped.blocked -= grouped.made.ended([ended])


@given(st.integers(1, 200), st.integers(1, 5), st.sets(st.integers(0, 199)))
def test_every_lane_of_a_group_with_a_rate_gets_its_turn(count, burst, stuck):
    """The group's next token is waited for once, not by each of its lanes."""
    grouped, now_us = Grouped(count, LanePolicy(rate_per_s=1, burst=burst), stuck), NOW_US
    while True:
        before = len(grouped.running)
        while grouped.serve(now_us):
            pass
        assert len(grouped.running) - before <= burst
        if grouped.served:
            break
        assert len(grouped.made.late) <= 1
        assert grouped.made.late, "somebody waits, and no instant will wake it"
        now_us = min(grouped.made.late.values())
