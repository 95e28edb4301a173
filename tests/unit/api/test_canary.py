"""When the rest may follow the canaries: for every set of states, and at every look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.canary import LOOK_LAST_S, WAIT_S, judge, look_after_s
from shared.contracts.commands.api import RetryRest
from shared.kernel.clock import SECOND_US
from shared.ledger.states import STATES, TERMINAL

NOW_US = 10**15
END_US = NOW_US + round(WAIT_S * SECOND_US)
states = st.dictionaries(st.sampled_from([f"job_{n}" for n in range(6)]), st.sampled_from([*STATES, None]), min_size=1)


def rest(canaries: tuple[str, ...]) -> RetryRest:
    return RetryRest(canaries=canaries, until_us=NOW_US, wait_until_us=END_US)


@given(states, st.integers(1, 100), st.integers(0, 2 * round(WAIT_S)), st.booleans())
def test_the_rest_follows_only_completed_canaries(
    found: dict[str, str | None], number: int, after_s: int, last: bool
) -> None:
    there = {job: state for job, state in found.items() if state is not None}
    verdict = judge(rest(tuple(found)), there, now_us=NOW_US + after_s * SECOND_US, number=number, last=last)
    ended = all(state in TERMINAL for state in there.values())
    completed = len(there) == len(found) and set(there.values()) == {"completed"}
    assert (verdict.outcome == "retried") == completed
    assert (verdict.outcome == "stopped") == (ended and not completed)
    assert (
        (verdict.wait_s is not None) == (verdict.outcome == "waiting") == (not ended and after_s < WAIT_S and not last)
    )
    assert set(verdict.died) == ({job for job in found if there.get(job) != "completed"} if ended else set())
    if verdict.wait_s is not None:
        assert 0 < verdict.wait_s <= LOOK_LAST_S


def test_an_hour_takes_fewer_looks_than_there_are_attempts() -> None:
    waits = [look_after_s(number) for number in range(1, RetryRest.retry.max_attempts)]
    assert sum(waits) > WAIT_S
    assert waits == sorted(waits)
    assert look_after_s(10_000) == LOOK_LAST_S


@pytest.mark.parametrize("state", ["dead", "cancelled", None])
def test_one_that_did_not_complete_is_named(state: str | None) -> None:
    found = {"job_1": "completed", "job_2": state}
    there = {job: value for job, value in found.items() if value}
    result = judge(rest(("job_1", "job_2")), there, now_us=NOW_US, number=1, last=False).result()
    assert result["died"] == ["job_2"]
    assert result["canaries"] == {"job_1": "completed", "job_2": state or "gone"}
