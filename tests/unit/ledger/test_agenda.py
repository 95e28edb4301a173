"""What is done about a tick that has come, late or not, and which rows follow from the code."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.command import Command
from shared.contracts.cron import CronLine
from shared.ledger.agenda import SKIP_GRACE_US, Change, changes, decide, definitions
from shared.ledger.cron import next_tick

MINUTE_US = 60_000_000
NOON_US = 1_767_268_800_000_000  # 2026-01-01T12:00Z
HOUR_US = 60 * MINUTE_US


class Report(Command):
    task: ClassVar[str] = "report.make"
    queue: ClassVar[str] = "api"
    schedule: ClassVar[tuple[CronLine, ...]] = (CronLine(cron="*/10 * * * *", args={"days": 3}),)
    days: int = 1


WANTED = definitions([Report])
ROW = {**WANTED["report.make"], "paused": False, "source": "code", "next_at": NOON_US, "updated_at": 1}


def row(**values):
    return {**ROW, **values}


def minutes(*numbers):
    return tuple(NOON_US + number * MINUTE_US for number in numbers)


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_a_tick_on_time_makes_its_job_whatever_the_policy(missed):
    done = decide(row(missed=missed), NOON_US + 5)
    assert (done.makes, done.missed, done.next_us) == (minutes(0), 0, *minutes(10))


@pytest.mark.parametrize(
    ("policy", "makes", "missed"),
    [({"missed": "skip"}, (), 5), ({"missed": "once"}, minutes(40), 4),
     ({"missed": "all", "catch_up": 3}, minutes(20, 30, 40), 2), ({"missed": "all"}, minutes(0, 10, 20, 30, 40), 0)],
)  # fmt: skip
def test_after_downtime_the_policy_decides(policy, makes, missed):
    done = decide(row(**policy), NOON_US + 49 * MINUTE_US)
    assert (done.makes, done.missed, done.at_us, done.next_us) == (makes, missed, *minutes(40), *minutes(50))


def test_a_failover_is_not_downtime():
    assert decide(row(missed="skip"), NOON_US + SKIP_GRACE_US).makes == minutes(0)
    assert decide(row(missed="skip"), NOON_US + SKIP_GRACE_US + 1).makes == ()


@given(st.integers(0, 40 * 24 * HOUR_US), st.sampled_from(["skip", "once", "all"]), st.integers(1, 100))
def test_every_tick_is_made_or_counted_and_the_next_is_to_come(late, missed, catch_up):
    now = NOON_US + late
    done = decide(row(missed=missed, catch_up=catch_up), now)
    assert len(done.makes) + done.missed == min(late // (10 * MINUTE_US) + 1, 1_000)
    assert now < done.next_us <= now + 10 * MINUTE_US
    assert all(ROW["next_at"] <= tick <= now for tick in done.makes)


def plan(rows, made=(), now_us=NOON_US - MINUTE_US, wanted=WANTED, queue="api"):
    return changes(wanted, rows, queue, {"api", "media"}, {"report.make": frozenset(made)}, now_us)


def test_the_first_time_a_schedule_starts_with_the_next_tick():
    (change,) = plan([])
    assert (change.row, change.next_us) == (None, NOON_US)
    assert change.definition["args"] == '{"days":3}'
    assert plan([], queue="media") == []


def test_what_is_as_it_should_be_is_left_alone():
    assert plan([row()]) == []
    assert plan([row()], now_us=NOON_US + HOUR_US) == [], "overdue: its missed ticks are for the ticker to decide"
    assert plan([row(paused=True, next_at=None)]) == []


@pytest.mark.parametrize("change", [{"cron": "30 * * * *"}, {"time_zone": "UTC+00:05"}])
def test_another_line_begins_with_its_next_tick(change):
    old = row(**change, next_at=NOON_US + 9)
    assert plan([old]) == [Change(old, {**WANTED["report.make"], "source": "code"}, NOON_US)]
    assert plan([row(**change, paused=True, next_at=None)])[0].next_us is None


def test_other_changes_leave_the_next_tick_where_it_is():
    overdue = row(args="{}", missed="all")
    (change,) = plan([overdue], now_us=NOON_US + HOUR_US)
    assert change.next_us == NOON_US


def test_what_the_code_no_longer_has_is_ended_and_may_come_back():
    gone = row(id="report.old")
    assert plan([row(), gone]) == [Change(gone, {"source": "gone"}, None)]
    elsewhere, nowhere = row(id="x", queue="media"), row(id="y", queue="closed")
    assert [change.row["id"] for change in plan([row(), elsewhere, nowhere])] == ["y"]
    assert plan([row(), {**gone, "source": "gone", "next_at": None}]) == []
    (change,) = plan([row(source="gone", next_at=None)])
    assert (change.definition["source"], change.next_us) == ("code", NOON_US)


def test_a_command_that_changes_its_queue_takes_its_schedule_along():
    (change,) = plan([row(queue="media")])
    assert (change.definition["queue"], change.next_us) == ("api", NOON_US)
    assert plan([row(queue="media")], queue="media") == []


def test_a_clock_that_was_set_back_finds_the_first_tick_that_was_not_decided():
    """It was a year ahead, for a moment: the next tick must not be a year away, nor an instant that has its job."""
    ahead = row(next_at=next_tick("*/10 * * * *", "UTC", NOON_US + 365 * 24 * HOUR_US))
    (change,) = plan([ahead], made=minutes(0, 10, 30))
    assert change.next_us == NOON_US + 20 * MINUTE_US
    assert plan([row(next_at=NOON_US + 20 * MINUTE_US)], made=minutes(0, 10)) == []
