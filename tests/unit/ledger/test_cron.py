"""Ticks: the rules for clocks that change, in zones that do it differently, and what holds for every line and zone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.cron import zone_of
from shared.ledger.cron import COUNT_MOST, due_ticks, next_tick, next_ticks

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text):
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def local(tick, zone):
    return (EPOCH + timedelta(microseconds=tick)).astimezone(zone_of(zone))


def shown(cron, zone, after, most):
    """Ticks after a local time, as local times with their offset."""
    start = datetime.fromisoformat(after).replace(tzinfo=zone_of(zone))
    found = next_ticks(cron, zone, (start - EPOCH) // timedelta(microseconds=1), most)
    return [f"{local(tick, zone):%d %H:%M%z}" for tick in found]


def test_without_a_zone_a_tick_is_what_the_line_says():
    assert next_tick("30 2 * * *", "UTC", us("2026-03-29T02:29:59.999999+00:00")) == us("2026-03-29T02:30:00+00:00")
    assert next_tick("30 2 * * *", "UTC", us("2026-03-29T02:30:00+00:00")) == us("2026-03-30T02:30:00+00:00")
    assert next_tick("0 9 * * *", "UTC+05:30", us("2026-03-29T00:00:00+00:00")) == us("2026-03-29T03:30:00+00:00")


@pytest.mark.parametrize(
    ("zone", "eve", "cron", "ticks"),
    [
        # A wall time that does not exist: fixed lines tick once, when the gap ends; the clock's lines not at all in it.
        ("Europe/Berlin", "2026-03-28T12:00", "30 2 * * *", ["29 03:00+0200", "30 02:30+0200"]),
        ("Europe/Berlin", "2026-03-28T12:00", "0,15,30 2,3 * * *", ["29 03:00+0200", "29 03:15+0200", "29 03:30+0200"]),
        ("Europe/Berlin", "2026-03-29T01:20", "*/20 * * * *", ["29 01:40+0100", "29 03:00+0200", "29 03:20+0200"]),
        ("Europe/Berlin", "2026-03-29T00:30", "0 * * * *", ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]),
        ("Europe/Berlin", "2026-03-28T12:00", "*/30 2 * * *", ["30 02:00+0200", "30 02:30+0200"]),
        ("America/New_York", "2026-03-07T12:00", "30 2 * * *", ["08 03:00-0400", "09 02:30-0400"]),
        ("Australia/Lord_Howe", "2026-10-03T12:00", "10 2 * * *", ["04 02:30+1100", "05 02:10+1100"]),
        ("Australia/Lord_Howe", "2026-10-04T01:40", "*/15 * * * *",
         ["04 01:45+1030", "04 02:30+1100", "04 02:45+1100"]),
        # One that exists twice: fixed lines tick the first time, the clock's lines both times.
        ("Europe/Berlin", "2026-10-24T12:00", "30 2 * * *", ["25 02:30+0200", "26 02:30+0100"]),
        ("Europe/Berlin", "2026-10-25T01:30", "0 * * * *", ["25 02:00+0200", "25 02:00+0100", "25 03:00+0100"]),
        ("Europe/Berlin", "2026-10-24T12:00", "*/30 2 * * *",
         ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100", "26 02:00+0100"]),
        ("America/New_York", "2026-10-31T12:00", "30 1 * * *", ["01 01:30-0400", "02 01:30-0500"]),
        ("Australia/Lord_Howe", "2026-04-04T12:00", "45 1 * * *", ["05 01:45+1100", "06 01:45+1030"]),
        ("Australia/Lord_Howe", "2026-04-05T01:20", "*/30 * * * *",
         ["05 01:30+1100", "05 01:30+1030", "05 02:00+1030"]),
        ("Australia/Lord_Howe", "2026-04-05T00:30", "0 */2 * * *", ["05 02:00+1030", "05 04:00+1030"]),
        # Lines that tick more rarely than the clock changes keep their wall time.
        ("Europe/Berlin", "2026-03-28T12:00", "0 12 * * *", ["29 12:00+0200", "30 12:00+0200"]),
        # Both sides of the date line, and a day that Samoa never had.
        ("Pacific/Kiritimati", "2026-01-01T00:30", "0 0 * * *", ["02 00:00+1400", "03 00:00+1400"]),
        ("Pacific/Pago_Pago", "2026-01-01T00:30", "0 0 * * *", ["02 00:00-1100", "03 00:00-1100"]),
        ("Pacific/Apia", "2011-12-28T12:00", "0 12 * * *", ["29 12:00-1000", "31 00:00+1400", "31 12:00+1400"]),
        ("Pacific/Apia", "2011-12-29T22:30", "0 * * * *", ["29 23:00-1000", "31 00:00+1400", "31 01:00+1400"]),
        # The gap is at midnight.
        ("Asia/Beirut", "2026-03-28T12:00", "0 0 * * *", ["29 01:00+0300", "30 00:00+0300"]),
        ("Asia/Beirut", "2026-03-28T22:30", "0 */2 29 * *", ["29 02:00+0300", "29 04:00+0300"]),
    ],
)  # fmt: skip
def test_when_the_clock_changes(zone, eve, cron, ticks):
    assert shown(cron, zone, eve, len(ticks)) == ticks


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati",
     "Pacific/Pago_Pago", "Asia/Beirut", "Africa/Casablanca", "America/St_Johns", "Asia/Kathmandu", "UTC-09:30"]
)  # fmt: skip
FIELD = {
    "minute": st.sampled_from(["*", "*/7", "*/15", "*/30", "0", "30", "45", "0,20,40", "10-25", "5/20"]),
    "hour": st.sampled_from(["*", "*/2", "*/5", "0", "1", "2", "3", "0-4", "1,2,3", "12", "23"]),
    "day": st.sampled_from(["*", "*", "*", "1", "*/3", "28-31", "L", "5,29"]),
    "month": st.sampled_from(["*", "*", "3,10", "4", "11", "DEC"]),
    "weekday": st.sampled_from(["*", "*", "*", "SUN", "1-5", "MON#2", "6L"]),
}
LINES = st.builds(lambda *parts: " ".join(parts), *FIELD.values())
# Close to where the clocks of these zones change, and anywhere.
CHANGES = [
    us(text)
    for text in (
        "2026-03-08T07:00Z", "2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-11-01T06:00Z", "2026-04-04T15:00Z",
        "2026-10-03T15:30Z", "2026-03-28T22:00Z", "2011-12-30T10:00Z", "2026-02-15T02:00Z",
    )
]  # fmt: skip
DAY_US = 86_400_000_000
INSTANTS = st.one_of(
    st.builds(lambda change, by: change + by, st.sampled_from(CHANGES), st.integers(-DAY_US, DAY_US)),
    st.integers(us("2000-01-01T00:00Z"), us("2035-01-01T00:00Z")),
)


def matches(cron, wall):
    return next(CronSim(cron, wall - timedelta(seconds=1))) == wall


def is_fixed(cron):
    return not any(part.startswith("*") for part in cron.split()[:2])


@settings(max_examples=300)
@given(LINES, ZONES, INSTANTS)
def test_ticks_rise_and_each_is_what_the_local_clock_shows(cron, zone, after):
    found = [after, *next_ticks(cron, zone, after, 12)]
    assert len(found) == 13
    for before, tick in pairwise(found):
        assert before < tick
        assert tick % 60_000_000 == 0
        wall = local(tick, zone).replace(tzinfo=None, fold=0)
        if matches(cron, wall):
            continue
        # The gap's rule, and nothing else: a fixed line, an offset that rises just here, and a match inside the gap.
        assert is_fixed(cron)
        gap = local(tick, zone).utcoffset() - local(tick - 1_000_000, zone).utcoffset()
        assert gap > timedelta()
        assert wall - gap <= next(CronSim(cron, wall - gap - timedelta(seconds=1))) < wall


@settings(max_examples=300)
@given(LINES, ZONES, INSTANTS, st.integers(1, 2 * DAY_US))
def test_the_next_tick_is_the_same_from_whichever_earlier_instant(cron, zone, after, later):
    tick = next_tick(cron, zone, after)
    between = after + later % (tick - after)
    assert next_tick(cron, zone, between) == tick
    assert next_tick(cron, zone, tick - 1) == tick


@settings(max_examples=25)
@given(st.sampled_from(["*/7", "*/30", "0", "30", "0,20,40"]), FIELD["hour"], ZONES, st.sampled_from(CHANGES))
def test_no_instant_is_left_out(minute, hour, zone, change):
    """Every minute of two days is asked for itself."""
    cron, start = f"{minute} {hour} * * *", change - DAY_US
    minutes = [start + number * 60_000_000 for number in range(2 * 24 * 60 + 1)]
    wanted, walls = [], set()
    for at in minutes:
        wall = local(at, zone).replace(tzinfo=None, fold=0)
        first_time = wall not in walls
        walls.add(wall)
        gap = local(at, zone).utcoffset() - local(at - 60_000_000, zone).utcoffset()
        skipped = gap > timedelta() and next(CronSim(cron, wall - gap - timedelta(seconds=1))) < wall
        if (matches(cron, wall) and (first_time or not is_fixed(cron))) or (skipped and is_fixed(cron)):
            wanted.append(at)
    # What the day before the first one showed is not known to `walls`: no zone here changes twice in that time.
    assert next_ticks(cron, zone, minutes[0] - 1, len(wanted)) == wanted


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "30 1 * * *", "0 * * * *", "*/20 * * * *", "0 2 * * 0", "15 3 L * *"])
def test_cronsim_itself_agrees_where_hours_are_whole(zone, cron):
    for day in ("2026-03-07", "2026-03-28", "2026-10-24", "2026-10-31"):
        start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
        walk = CronSim(cron, start)
        theirs = [(next(walk) - EPOCH) // timedelta(microseconds=1) for _ in range(150)]
        assert next_ticks(cron, zone, (start - EPOCH) // timedelta(microseconds=1), 150) == theirs


@settings(max_examples=40)
@given(LINES, ZONES, INSTANTS, st.integers(0, 90 * DAY_US), st.integers(1, 5))
def test_what_is_due_is_counted_and_the_latest_are_named(cron, zone, after, down, most):
    first = next_tick(cron, zone, after)
    now = first + down
    due = due_ticks(cron, zone, first, now, most)
    every = [first, *next_ticks(cron, zone, first, COUNT_MOST + 200)]
    if every[-1] > now:
        every = [tick for tick in every if tick <= now]
        assert due.count == min(len(every), COUNT_MOST)
        assert list(due.latest) == every[-most:]
    else:
        assert due.count == COUNT_MOST
        assert len(due.latest) == most
        assert next_tick(cron, zone, due.latest[-1]) > now


def test_six_years_of_minutes_are_looked_at_in_a_moment():
    due = due_ticks("* * * * *", "UTC", us("2020-01-01T00:00Z"), us("2026-01-01T00:00:30Z"), 3)
    assert due.count == COUNT_MOST
    assert [tick - us("2026-01-01T00:00Z") for tick in due.latest] == [-120_000_000, -60_000_000, 0]
