"""The line: nobody is served twice while an equal waits, nothing is lost or served twice, blocked lanes stand aside."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.transport import line as module
from shared.transport.line import Candidate, Line


def candidate(number, *, tenant="t", lane=None, priority=5, run_at=None):
    return Candidate(number if run_at is None else run_at, f"job_{number:026d}", priority, tenant, lane, "work")


class Ledger:
    """What the database does for a line: due jobs by flow and place."""

    def __init__(self, jobs):
        self.jobs = set(jobs)

    def walk(self, line):
        line.found(sorted({job.flow for job in self.jobs}))

    def refill(self, line, room):
        hungry, most = line.hungry(room)
        for flow in hungry:
            due = sorted(job for job in self.jobs if job.flow == flow.key and job.place > flow.after)
            line.refilled(flow.key, due[:most], most)
        return bool(hungry)

    def serve(self, line, room, admit=lambda _: True):
        picked = []
        while True:
            fed = self.refill(line, room - len(picked))
            now = line.pick(room - len(picked), admit)
            picked += now
            if len(picked) >= room or (not now and not fed):
                self.jobs.difference_update(picked)
                line.left(picked)
                return picked


jobs = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from("abcd"), st.sampled_from([None, "x", "y"]), st.integers(0, 50)),
    max_size=120,
).map(
    lambda given: [candidate(n, priority=p, tenant=t, lane=lane, run_at=at) for n, (p, t, lane, at) in enumerate(given)]
)


@given(jobs, st.integers(1, 30))
def test_everything_is_served_once_by_priority(given_jobs, room):
    line, ledger = Line(), Ledger(given_jobs)
    ledger.walk(line)
    served = []
    while part := ledger.serve(line, room):
        served += part
    assert sorted(served) == sorted(given_jobs)
    assert [job.priority for job in served] == sorted(job.priority for job in given_jobs)
    assert len(line) == 0
    assert line.flows == 0


@given(jobs, st.integers(1, 30))
def test_no_tenant_gets_more_than_its_share_and_one_while_others_wait(given_jobs, room):
    line = Line()
    same = [job._replace(priority=5) for job in given_jobs]
    ledger = Ledger(same)
    ledger.walk(line)
    left = Counter(job.tenant for job in same)
    since = {a: dict.fromkeys(left, 0) for a in left}  # turns of b since a was last served, while a waited
    while part := ledger.serve(line, room):
        for job in part:
            for waiting in (tenant for tenant in left if left[tenant]):
                since[waiting][job.tenant] += 1
                assert waiting == job.tenant or since[waiting][job.tenant] <= 1, (waiting, job)
            since[job.tenant] = dict.fromkeys(left, 0)
            left[job.tenant] -= 1


@given(jobs)
def test_within_a_flow_the_oldest_goes_first(given_jobs):
    line, ledger = Line(), Ledger(given_jobs)
    ledger.walk(line)
    served = []
    while part := ledger.serve(line, 7):
        served += part
    for flow in {job.flow for job in served}:
        places = [job.place for job in served if job.flow == flow]
        assert places == sorted(places)


@given(jobs, st.data())
def test_what_arrives_meanwhile_is_served_once_too(given_jobs, data):
    line, ledger = Line(), Ledger([])
    waiting, served = list(given_jobs), []
    while waiting or ledger.jobs:
        come = waiting[: data.draw(st.integers(0, 20))] or waiting[:1]
        del waiting[: len(come)]
        ledger.jobs.update(come)
        line.offer(come)
        if data.draw(st.booleans()):
            ledger.walk(line)
        served += ledger.serve(line, data.draw(st.integers(1, 12)))
    assert sorted(served) == sorted(given_jobs)


@given(jobs)
def test_a_blocked_lane_stands_aside_and_keeps_what_it_has(given_jobs):
    line, ledger = Line(), Ledger(given_jobs)
    ledger.walk(line)
    served = []
    while part := ledger.serve(line, 9, admit=lambda job: job.lane != "x"):
        served += part
    assert sorted(served) == sorted(job for job in given_jobs if job.lane != "x")
    assert all(line.waits_in(lane) for lane in {job.lane_id for job in given_jobs if job.lane == "x"})
    unblock_all(line)
    while part := ledger.serve(line, 9):
        served += part
    assert sorted(served) == sorted(given_jobs)


def test_a_buffer_is_bounded_and_what_it_has_no_room_for_is_read_later(monkeypatch):
    monkeypatch.setattr(module, "BUFFER", 5)
    many = [candidate(number) for number in range(40)]
    line, ledger = Line(), Ledger(many)
    line.offer(many[20:])
    line.offer(many[:20])
    assert len(line) == 5
    served = ledger.serve(line, 100)
    assert served == many


def test_only_the_head_of_an_ordered_lane_is_led_out():
    line = Line()
    line.offer([candidate(n, lane="x") for n in range(3)])
    line.block(("t", "x"))
    assert line.is_empty
    line.lead(candidate(2, lane="x"))
    assert line.pick(5, lambda _: True) == [candidate(2, lane="x")]
    line.block(("t", "x"))
    assert line.pick(5, lambda _: True) == []


@pytest.mark.parametrize("read", [True, False])
def test_a_head_that_is_due_after_those_behind_it_is_led_out_and_they_follow(read):
    """A retry is due later than what was accepted after it, and still goes first: nothing else is read in meanwhile."""
    head, *others = [candidate(n, lane="x", run_at=100 - n) for n in range(4)]
    line, ledger = Line(), Ledger([head, *others])
    if read:
        ledger.walk(line)
        ledger.refill(line, 10)
    else:
        line.offer([head, *others])
    line.block(("t", "x"))
    line.lead(head)
    assert ledger.serve(line, 10, lambda job: job is head or job == head) == [head]
    unblock_all(line)
    served = ledger.serve(line, 10)
    assert sorted(served) == sorted(others), "they were forgotten when the head was led out"


def unblock_all(line):
    for lane in line.blocked_lanes():
        line.unblock(lane)


def test_a_lane_that_was_blocked_without_jobs_opens_again():
    line = Line()
    line.offer([candidate(1, lane="x")])
    line.left(line.pick(1, lambda _: True))
    line.block(("t", "x"))
    assert line.flows == 0
    unblock_all(line)
    line.offer([candidate(2, lane="x")])
    assert line.pick(1, lambda _: True) == [candidate(2, lane="x")]


@given(jobs, st.lists(st.tuples(st.integers(0, 119), st.integers(0, 9), st.integers(0, 60)), max_size=40), st.data())
def test_whoever_moves_is_served_once_at_the_new_place(given_jobs, moves, data):
    """Its old place in a buffer is passed over, however often it moves, also back to where it was."""
    line, ledger = Line(), Ledger(given_jobs)
    ledger.walk(line)
    line.offer(given_jobs)
    served = []
    for number, priority, run_at in moves:
        moved = next((job for job in ledger.jobs if job.id == f"job_{number:026d}"), None)
        if moved is not None:
            changed = moved._replace(priority=priority, run_at=run_at)
            ledger.jobs.remove(moved)
            ledger.jobs.add(changed)
            line.offer([changed])
        if data.draw(st.booleans()):
            waiting = set(ledger.jobs)
            part = ledger.serve(line, 1)
            assert all(job in waiting for job in part), "it was served as what it had been"
            served += part
    while part := ledger.serve(line, 7):
        served += part
    assert sorted(job.id for job in served) == sorted(job.id for job in given_jobs)
    assert len(line) == 0


def test_flows_that_stand_still_make_room_and_come_back(monkeypatch):
    """However many lanes stand still, whoever comes is served; and each of them is, once it opens, without a walk."""
    monkeypatch.setattr(module, "FLOWS_MOST", 10)
    standing = [candidate(number, lane=f"held-{number}") for number in range(40)]
    line, ledger = Line(), Ledger(standing)
    for job in standing:
        line.block(job.lane_id)
    ledger.walk(line)
    assert line.flows <= 10
    line.offer(standing)
    fresh = [candidate(100 + number, tenant="other", lane=f"x-{number}") for number in range(20)]
    ledger.jobs |= set(fresh)
    served = []
    for job in fresh:
        line.offer([job])
        served += ledger.serve(line, 5)
    assert served == fresh
    for job in standing:
        line.unblock(job.lane_id)
        assert ledger.serve(line, 5) == [job]
    assert (line.is_empty, len(line), line.flows) == (True, 0, 0)


def test_what_is_being_served_is_not_thrown_out(monkeypatch):
    monkeypatch.setattr(module, "FLOWS_MOST", 3)
    given_jobs = [candidate(number, tenant=f"t{number}") for number in range(9)]
    line, ledger = Line(), Ledger(given_jobs)
    served = []
    while ledger.jobs:
        ledger.walk(line)
        assert line.flows <= 3
        served += ledger.serve(line, 4)
    assert sorted(served) == given_jobs
