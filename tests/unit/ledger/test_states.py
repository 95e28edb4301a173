"""Every way out of `running`, for every claim that can exist: bounded, honest about blame, never backwards."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.clock import SECOND_US
from shared.ledger import states
from shared.ledger.states import MAX_RELEASES, POISON_CRASHES, SUSPECT_CRASHES, TERMINAL, Claim, Failure

NOW_US = 1_700_000_000_000_000
FAILURE = Failure("ValueError", "words", "f1", "trace")
delays = st.floats(0, 7 * 86_400)


@st.composite
def claims(draw, **fixed):
    most = draw(st.integers(1, 100))
    values = {
        "id": "job_1", "task": "t", "args": "{}", "tenant": "t1", "queue": "q", "incarnation": "inc_1",
        "fence": draw(st.integers(1, 1_000)),
        "attempt": draw(st.integers(0, most - 1)),
        "max_attempts": most,
        "crashes": draw(st.integers(0, POISON_CRASHES - 1)),
        "releases": draw(st.integers(0, MAX_RELEASES + 2)),
        "timeout_s": 5.0, "created_at": NOW_US, "claimed_at": NOW_US,
        "cancel_requested": draw(st.booleans()),
    }  # fmt: skip
    return Claim(**(values | fixed))


WAYS = {
    "completed": lambda claim, delay_s: states.completed(claim, NOW_US, started_at=NOW_US, result="1"),
    "failed": lambda claim, delay_s: states.failed(claim, NOW_US, FAILURE, started_at=NOW_US, delay_s=delay_s),
    "dead": lambda claim, delay_s: states.dead(claim, NOW_US, FAILURE, started_at=NOW_US),
    "discarded": lambda claim, delay_s: states.discarded(claim, NOW_US, FAILURE, started_at=NOW_US),
    "released": lambda claim, delay_s: states.released(claim, NOW_US, "drain", delay_s=delay_s),
    "lost": lambda claim, delay_s: states.lost(claim, NOW_US, "silent"),
    "crashed": lambda claim, delay_s: states.crashed(claim, NOW_US, "crash: killed"),
    "overdue": lambda claim, delay_s: states.overdue(claim, NOW_US, delay_s),
}
ways = st.sampled_from(sorted(WAYS))


@given(claims(), ways, delays)
def test_every_way_out_leaves_running_and_only_counts_up(claim, way, delay_s):
    left = WAYS[way](claim, delay_s)
    assert left.claim == claim
    assert left.state in {"ready", *TERMINAL}
    assert left.state == "ready" or left.run_at is None, "what has ended is not due"
    assert claim.attempt <= left.attempt <= claim.attempt + 1 <= claim.max_attempts
    assert claim.crashes <= left.crashes <= claim.crashes + 1
    assert claim.releases <= left.releases <= claim.releases + 1
    assert left.run_at is None or left.run_at >= NOW_US
    assert left.finished_at == NOW_US


@given(claims(), ways, delays)
def test_every_way_out_spends_something_so_that_no_job_runs_for_ever(claim, way, delay_s):
    left = WAYS[way](claim, delay_s)
    spent = (left.attempt - claim.attempt) + (left.crashes - claim.crashes) + (left.releases - claim.releases)
    assert left.state in TERMINAL or spent == 1


@given(claims(cancel_requested=True), st.sampled_from(["failed", "released", "lost", "crashed", "overdue"]), delays)
def test_a_cancelled_job_is_never_tried_again(claim, way, delay_s):
    assert WAYS[way](claim, delay_s).state in TERMINAL


@given(claims())
def test_completion_wins_over_a_request_to_cancel(claim):
    assert WAYS["completed"](claim, 0.0).state == "completed"


@given(claims(cancel_requested=False), delays)
def test_a_failure_is_retried_after_its_delay_until_attempts_run_out(claim, delay_s):
    left = WAYS["failed"](claim, delay_s)
    assert left.attempt == claim.attempt + 1
    if claim.attempt + 1 == claim.max_attempts:
        assert (left.state, left.run_at) == ("dead", None)
    else:
        assert (left.state, left.run_at) == ("ready", NOW_US + round(delay_s * SECOND_US))
    assert left.failure == FAILURE


@given(claims(), st.sampled_from(["released", "lost"]))
def test_giving_back_costs_no_attempt_until_its_bound(claim, way):
    left = WAYS[way](claim, 0.0)
    free = claim.releases < MAX_RELEASES
    assert left.attempt == claim.attempt + (0 if free else 1)
    assert left.crashes == claim.crashes


@given(claims())
def test_what_never_started_writes_no_attempt_and_what_was_lost_does(claim):
    if claim.releases < MAX_RELEASES:
        assert states.released(claim, NOW_US, "drain").outcome is None
        assert states.released(claim, NOW_US, "drain", started_at=NOW_US).outcome == "released"
    lost = states.lost(claim, NOW_US, "silent")
    assert (lost.outcome, lost.started_at) == ("lost", claim.claimed_at)


@given(claims(cancel_requested=False))
def test_only_crashes_alone_make_a_job_poison(claim):
    left = WAYS["crashed"](claim, 0.0)
    assert left.attempt == claim.attempt, "a crash spends no attempt"
    assert (left.state == "dead") == (claim.crashes + 1 >= POISON_CRASHES)
    if left.state == "dead":
        assert claim.suspect, "whoever dies of its crashes was running alone"
        assert left.failure.type == "poison"


@pytest.mark.parametrize("crashes", range(POISON_CRASHES))
def test_a_suspect_is_one_that_crashed_twice(crashes):
    claim = Claim(
        "job_1", "t", "{}", "t1", "q", 1, "inc_1", 0, 1, crashes, 0, 1.0, NOW_US, NOW_US,
    )  # fmt: skip
    assert claim.suspect == (crashes >= SUSPECT_CRASHES)


@given(claims(), delays)
def test_a_job_that_only_fails_or_only_crashes_ends_within_its_bounds(claim, delay_s):
    for way in ("failed", "crashed", "overdue", "lost"):
        held, steps = replace(claim, cancel_requested=False), 0
        while (left := WAYS[way](held, delay_s)).state not in TERMINAL:
            held = replace(held, attempt=left.attempt, crashes=left.crashes, releases=left.releases)
            steps += 1
            assert steps <= held.max_attempts + POISON_CRASHES + MAX_RELEASES


@given(st.integers(0, 5), st.integers(-5, 5), st.sampled_from(states.STATES))
def test_people_are_shown_one_of_seven_words(attempt, due_in_us, state):
    shown = states.shown_state(state, NOW_US + due_in_us, attempt, NOW_US)
    assert shown in {"scheduled", "queued", "retrying", "running", "completed", "dead", "cancelled"}
    if state == "ready":
        assert shown == ("retrying" if attempt else "scheduled" if due_in_us > 0 else "queued")
    if state in TERMINAL or state == "running":
        assert shown == state
