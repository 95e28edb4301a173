"""Retry policies: every delay is bounded, every schedule ends, jitter stays within what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.contracts.retry import ONCE, Exponential, RetryPolicy, Schedule

edges = st.sampled_from([lambda low, high: low, lambda low, high: high, lambda low, high: (low + high) / 2])
schedules = st.builds(
    Schedule,
    delays_s=st.lists(st.floats(0, 7 * 86_400), max_size=50).map(tuple),
    jitter=st.floats(0, 0.5),
)
exponentials = st.builds(
    Exponential,
    base_s=st.floats(0.001, 3600),
    cap_s=st.floats(0.001, 86_400),
    max_attempts=st.integers(1, 100),
)


@given(schedules, st.integers(1, 200), edges)
def test_a_schedule_waits_what_it_says_within_its_jitter(policy, attempt, uniform):
    delay_s = policy.delay_s(attempt, uniform)
    if not policy.delays_s:
        assert delay_s == 0
        return
    said_s = policy.delays_s[min(attempt, len(policy.delays_s)) - 1]
    assert said_s * (1 - policy.jitter) - 1e-6 <= delay_s <= said_s * (1 + policy.jitter) + 1e-6


@given(schedules)
def test_a_schedule_is_one_attempt_longer_than_its_delays(policy):
    assert policy.max_attempts == len(policy.delays_s) + 1


@given(exponentials, st.integers(1, 10_000), edges)
def test_an_exponential_delay_is_between_zero_and_its_cap(policy, attempt, uniform):
    assert 0 <= policy.delay_s(attempt, uniform) <= policy.cap_s


@given(exponentials, st.integers(1, 60))
def test_an_exponential_ceiling_doubles_until_the_cap(policy, attempt):
    def ceiling(number):
        return policy.delay_s(number, lambda low, high: high)

    assert ceiling(attempt + 1) == pytest.approx(min(policy.cap_s, ceiling(attempt) * 2)) or attempt >= 41


@given(exponentials, st.integers(1, 100))
def test_the_default_draw_is_within_bounds_too(policy, attempt):
    assert 0 <= policy.delay_s(attempt) <= policy.cap_s


def test_once_is_never_retried():
    assert ONCE.max_attempts == 1


@given(schedules | exponentials)
def test_a_policy_is_data_and_survives_being_written_down(policy):
    adapter = TypeAdapter(RetryPolicy)
    assert adapter.validate_json(adapter.dump_json(policy)) == policy


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Schedule(delays_s=(-1,)),
        lambda: Schedule(delays_s=(7 * 86_400 + 1,)),
        lambda: Schedule(delays_s=(1,) * 51),
        lambda: Schedule(delays_s=(1,), jitter=0.6),
        lambda: Exponential(base_s=0),
        lambda: Exponential(max_attempts=0),
        lambda: Exponential(max_attempts=101),
        lambda: Exponential(cap_s=86_401),
    ],
)
def test_an_unbounded_policy_cannot_be_written(wrong):
    with pytest.raises(ValidationError):
        wrong()
