"""Every instant of a rhythm is in exactly one quarter of an hour, and none is between those that were wanted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.rhythm import SECONDS_MOST, TICK_US, checked_rhythm, instants, split
from shared.contracts.commands.api import SyncFeed
from shared.kernel.clock import SECOND_US
from shared.ledger.cron import next_ticks

FIRST_US = 2_000_000 * TICK_US


@given(st.integers(10, SECONDS_MOST), st.integers(0, 10**6))
def test_seconds_are_as_far_apart_over_quarters_as_within(seconds: int, tick: int) -> None:
    tick_us = FIRST_US + tick * TICK_US
    found = [at for n in range(40) for at in instants(str(seconds), "UTC", tick_us + n * TICK_US)]
    assert all(later - sooner == seconds * SECOND_US for sooner, later in pairwise(found))
    assert all(at % (seconds * SECOND_US) == 0 for at in found)
    assert abs(len(found) - 40 * 900 / seconds) < 1


@pytest.mark.parametrize("cron", ["* * * * *", "*/7 * * * *", "0 3 * * *", "30 * * * MON-FRI"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Europe/Berlin"])
def test_a_cron_line_comes_whole(cron: str, zone: str) -> None:
    found = [at for n in range(8 * 96) for at in instants(cron, zone, FIRST_US + n * TICK_US)]
    assert found == next_ticks(cron, zone, FIRST_US - 1, len(found))
    assert len(found) >= 8


def test_what_has_passed_is_one_read_and_the_rest_is_still_to_come() -> None:
    wanted = instants("300", "UTC", FIRST_US)
    assert wanted == [FIRST_US, FIRST_US + 300 * SECOND_US, FIRST_US + 600 * SECOND_US]
    assert split(wanted, FIRST_US) == (True, wanted[1:])
    assert split(wanted, wanted[1]) == (True, wanted[2:])
    assert split(wanted, wanted[2] + 1) == (True, [])
    assert split(wanted[1:], FIRST_US) == (False, wanted[1:])
    assert split([], FIRST_US) == (False, [])


@pytest.mark.parametrize("text", ["", "9", "0", "604801", "1.5", "-60", "soon", "* * * *", "0 0 30 2 *"])
def test_what_is_no_rhythm_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cron line|never comes"):
        checked_rhythm(text)


def test_the_schedule_ticks_once_in_a_quarter() -> None:
    (line,) = SyncFeed.schedule
    found = next_ticks(line.cron, line.time_zone, FIRST_US - 1, 5)
    assert found == [FIRST_US + n * TICK_US for n in range(5)]
