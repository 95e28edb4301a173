"""The breaker and the ceiling, over any history: bounds that always hold, and what opens and closes it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.breaker import FRESH, Rules, Seen, State, is_hopeless, reset, step
from shared.kernel.clock import SECOND_US

NOW_US = 1_700_000_000 * SECOND_US
RULES = Rules()
LIMIT = 50
kinds = st.sampled_from(["ok", "failed", "throttled"])
histories = st.lists(st.tuples(kinds, st.integers(0, 20 * SECOND_US), st.integers(0, 90 * SECOND_US)), max_size=120)


def seen(kind, ended_at=NOW_US, took_us=0, **more):
    return Seen(kind, ended_at - took_us, ended_at, **more)


def run(history, limit=LIMIT, state=FRESH):
    """States in turn, each with what led to it."""
    at, states = NOW_US, []
    for kind, took_us, gap_us in history:
        at += gap_us
        attempt = seen(kind, at, took_us)
        after = step(state, attempt, RULES, limit)
        states.append((state, attempt, after))
        state = after
    return states


def opened(state=FRESH, count=RULES.least, at=NOW_US):
    for _ in range(count):
        state = step(state, seen("failed", at), RULES, LIMIT)
    return state


@given(histories, st.integers(1, 200))
def test_what_always_holds(history, limit):
    for before, attempt, after in run(history, limit):
        assert after.ceiling is None or 1 <= after.ceiling < limit
        assert (after.opened_at is None) == (after.trips == 0)
        assert after.held_until == 0 or after.opened_at is not None
        assert after.held_until <= attempt.ended_at + RULES.pause_most_s * SECOND_US
        assert (after.failing_since is None) == (after.failures == 0)
        assert after.opened_at is None or after.at_once == 1
        if attempt.kind == "failed":
            assert after.ceiling == before.ceiling
        if attempt.kind != "ok":
            assert after.failures == before.failures + 1
            assert after.failing_since == (before.failing_since or attempt.ended_at)


@given(histories)
def test_a_success_that_changes_nothing_is_the_same_state(history):
    """What is equal is not written: an endpoint that answers costs nothing."""
    state = FRESH
    for kind, took_us, gap_us in history:
        if kind == "ok":
            assert step(FRESH, seen("ok", NOW_US + gap_us, took_us), RULES, LIMIT) is FRESH
            healthy = replace(FRESH, succeeded=3, failed=2, window_at=NOW_US)
            assert step(healthy, seen("ok", NOW_US + gap_us, took_us), RULES, LIMIT) is healthy
    assert state is FRESH


@given(st.integers(0, 100), st.integers(0, 100))
def test_it_opens_exactly_when_enough_ended_and_enough_of_them_failed(ok, bad):
    """The last one failed, because successes are written with the next failure."""
    state, others = FRESH, ok
    for number in range(1, bad + 1):
        state = step(state, seen("failed", others=others), RULES, LIMIT)
        others = 0
        should = number + ok >= RULES.least and number >= RULES.share * (number + ok)
        assert (state.opened_at is not None) == should
        if should:
            return


def test_failures_that_are_far_apart_open_nothing():
    state = FRESH
    for number in range(100):
        state = step(state, seen("failed", NOW_US + number * 7 * SECOND_US), RULES, LIMIT)
        assert state.opened_at is None
    assert state.failures == 100


def test_what_was_under_way_when_it_opened_says_nothing():
    state = opened()
    assert state.circuit(NOW_US) == "open"
    late = seen("ok", NOW_US + SECOND_US, took_us=2 * SECOND_US)
    assert step(state, late, RULES, LIMIT).opened_at == state.opened_at
    failed = step(state, seen("failed", NOW_US + SECOND_US, took_us=2 * SECOND_US), RULES, LIMIT)
    assert (failed.held_until, failed.trips) == (state.held_until, 1)


def test_a_failed_probe_holds_twice_as_long_up_to_the_most():
    state, pauses, at = opened(), [], NOW_US
    for _ in range(10):
        pauses.append((state.held_until - at) / SECOND_US)
        at = state.held_until
        assert state.circuit(at) == "half_open"
        state = step(state, seen("failed", at), RULES, LIMIT)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]


def test_a_probe_that_succeeds_closes_it_and_it_starts_slowly():
    state = opened()
    at = state.held_until + 7
    closed = step(state, seen("ok", at), RULES, LIMIT)
    assert closed == State(window_at=at, ceiling=LIMIT // 2, ceiling_at=at, last_failure="")
    assert step(replace(state, ceiling=1), seen("ok", at), RULES, LIMIT).ceiling == 1
    assert step(state, seen("ok", at), RULES, 1).ceiling is None, "a limit of one cannot be lower"


def test_throttling_halves_once_for_all_that_was_under_way():
    state = FRESH
    for _ in range(5):
        state = step(state, seen("throttled", NOW_US, took_us=SECOND_US), RULES, LIMIT)
    assert state.ceiling == LIMIT // 2
    found = []
    for number in range(1, 8):
        state = step(replace(state, opened_at=None), seen("throttled", NOW_US + number), RULES, LIMIT)
        found.append(state.ceiling)
    assert found == [12, 6, 3, 1, 1, 1, 1]


@given(st.integers(2, 400), st.integers(1, 400))
def test_it_recovers_additively_and_no_faster_than_a_step_a_second(limit, ceiling):
    state, at = replace(FRESH, ceiling=min(ceiling, limit - 1), ceiling_at=NOW_US), NOW_US
    while state.ceiling is not None:
        before = state.ceiling
        early = step(state, seen("ok", at + SECOND_US - 1), RULES, limit)
        assert early is state
        at += SECOND_US
        state = step(state, seen("ok", at), RULES, limit)
        assert state.ceiling is None or state.ceiling - before == max(1, limit // 20)
        assert at - NOW_US <= 60 * SECOND_US


def test_only_failures_for_long_enough_are_hopeless():
    most = round(RULES.disable_after_s * SECOND_US)
    state = step(FRESH, seen("failed"), RULES, LIMIT)
    assert not is_hopeless(state, NOW_US + most - 1, RULES)
    assert is_hopeless(state, NOW_US + most, RULES)
    assert not is_hopeless(state, NOW_US + most, replace(RULES, disable_after_s=0))
    again = step(step(state, seen("ok", NOW_US + 5), RULES, LIMIT), seen("failed", NOW_US + most), RULES, LIMIT)
    assert not is_hopeless(again, NOW_US + most, RULES)


def test_a_reset_forgets_all_but_that_people_were_told():
    assert reset(opened(), NOW_US) == State(troubled=True, reset_at=NOW_US)
    assert reset(step(FRESH, seen("failed"), RULES, LIMIT), NOW_US) == State(reset_at=NOW_US)
    told = step(FRESH, seen("failed", told=True), RULES, LIMIT)
    assert told.troubled
    assert not step(told, seen("ok", NOW_US + 1), RULES, LIMIT).troubled


@pytest.mark.parametrize("kind", ["ok", "failed", "throttled"])
def test_what_began_before_a_reset_says_nothing(kind):
    anew = reset(opened(), NOW_US)
    before = replace(seen(kind, NOW_US + 9), started_at=NOW_US - 1)
    assert step(anew, before, RULES, LIMIT) == anew
    assert step(anew, replace(before, started_at=NOW_US), RULES, LIMIT) != anew
