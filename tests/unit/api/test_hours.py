"""Which hours are to be counted, and what retention may take: for arbitrary clocks, settings and marks."""

from hypothesis import given
from hypothesis import strategies as st

from services.api.hours import HOLD_US, HOUR_US, HOURS_MOST, SETTLE_US, due_hours, purge_before

NOW = st.integers(min_value=10_000 * HOUR_US, max_value=500_000 * HOUR_US)
KEEP = st.integers(min_value=60_000_000, max_value=400 * HOUR_US)
BACK = st.none() | st.integers(min_value=-3, max_value=2_000)


def mark_of(now_us: int, back: int | None) -> int | None:
    return None if back is None else (now_us // HOUR_US - back) * HOUR_US


@given(NOW, KEEP, BACK)
def test_only_whole_hours_that_are_over_and_still_there(now_us: int, keep_us: int, back: int | None) -> None:
    mark = mark_of(now_us, back)
    due = due_hours(now_us, keep_us, mark)
    assert len(due.hours) <= HOURS_MOST
    assert (
        list(due.hours) == list(range(due.hours[0], due.hours[0] + len(due.hours) * HOUR_US, HOUR_US))
        if due.hours
        else True
    )
    for hour in due.hours:
        assert hour % HOUR_US == 0
        assert hour + HOUR_US <= now_us - SETTLE_US
        assert hour >= purge_before(now_us, keep_us, mark)
        assert mark is None or hour >= mark


@given(NOW, KEEP, BACK)
def test_no_hour_is_passed_over_that_could_be_counted(now_us: int, keep_us: int, back: int | None) -> None:
    mark = mark_of(now_us, back)
    due = due_hours(now_us, keep_us, mark)
    assert due.lost >= 0
    if mark is not None and due.hours:
        assert due.hours[0] == mark + due.lost * HOUR_US
    if mark is not None and purge_before(now_us, keep_us, mark) <= mark:
        assert due.lost == 0


@given(NOW, KEEP, BACK)
def test_retention_waits_for_the_count_and_not_for_ever(now_us: int, keep_us: int, back: int | None) -> None:
    mark = mark_of(now_us, back)
    before = purge_before(now_us, keep_us, mark)
    assert now_us - keep_us - HOLD_US <= before <= now_us - keep_us
    if mark is not None and mark >= now_us - keep_us - HOLD_US:
        assert before <= max(mark, now_us - keep_us - HOLD_US)


@given(NOW, KEEP, BACK, st.integers(min_value=0, max_value=100 * HOUR_US))
def test_what_retention_has_taken_is_never_counted_later(
    now_us: int, keep_us: int, back: int | None, later_us: int
) -> None:
    """A purge of now, then a count of later under the same mark."""
    mark = mark_of(now_us, back)
    taken_before = purge_before(now_us, keep_us, mark)
    assert all(hour >= taken_before for hour in due_hours(now_us + later_us, keep_us, mark).hours)
