"""When a failed delivery goes out again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.retry import WISH_MOST_S, next_delay_s, policy_of
from shared.contracts.commands.webhooks import DEFAULT_DELAYS_S

delays = st.floats(0, 7 * 86_400)
schedules = st.lists(delays, max_size=10)


@given(schedules)
def test_an_endpoints_schedule_is_exact_and_ends(schedule: list[float]) -> None:
    policy = policy_of(schedule)
    assert policy.max_attempts == len(schedule) + 1
    assert [next_delay_s(policy, n + 1) for n in range(len(schedule))] == schedule
    assert next_delay_s(policy, len(schedule) + 1) is None
    assert next_delay_s(policy, len(schedule) + 2) is None


@given(st.lists(delays, min_size=1, max_size=1), st.floats(0, 86_400))
def test_a_wish_puts_off_within_bounds_and_never_brings_forward(schedule: list[float], wish_s: float) -> None:
    base = schedule[0]
    delay = next_delay_s(policy_of(schedule), 1, wish_s)
    assert delay is not None
    assert base <= delay <= max(2 * base, WISH_MOST_S)
    if base <= wish_s <= WISH_MOST_S:
        assert delay == wish_s


@pytest.mark.parametrize("attempt", range(1, len(DEFAULT_DELAYS_S) + 1))
def test_the_default_schedule_has_jitter(attempt: int) -> None:
    base = DEFAULT_DELAYS_S[attempt - 1]
    found = {next_delay_s(policy_of(None), attempt) for _ in range(20)}
    assert len(found) > 1
    assert all(base * 0.8 <= delay <= base * 1.2 for delay in found if delay is not None)
    assert next_delay_s(policy_of(None), len(DEFAULT_DELAYS_S) + 1) is None
