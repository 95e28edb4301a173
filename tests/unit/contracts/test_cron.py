"""Cron lines as they are declared: what is taken, in which forms, and what is refused and why."""

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from pydantic import ValidationError

from shared.contracts.command import Command, command_table, schedules_of
from shared.contracts.commands import ALL
from shared.contracts.cron import CronLine, as_line, zone_of


class Report(Command):
    task: ClassVar[str] = "report.make"
    queue: ClassVar[str] = "api"
    kind: str = "daily"
    days: int = 1


def scheduled(*lines):
    return type("Scheduled", (Report,), {"schedule": lines, "__annotations__": {}})


def test_a_line_says_its_defaults():
    line = CronLine(cron=" 5  4 * * MON ")
    assert (line.cron, line.time_zone, line.missed, line.catch_up, line.args) == ("5 4 * * MON", "UTC", "once", 10, {})
    assert CronLine(cron="@Daily").cron == "0 0 * * *"


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("", "five fields"), ("* * * *", "five fields"), ("*/5 * * * * *", "five fields"), ("@reboot", "@hourly"),
        ("61 * * * *", "minute"), ("* * * * 8", "day-of-week"), ("0 0 30 2 *", "day-of-month"), ("a b c d e", "minute"),
        ("0 0 31 2,4 1", ""),
    ],
)  # fmt: skip
def test_what_is_no_cron_line_is_told(cron, words):
    if words:
        with pytest.raises(ValidationError, match=words):
            CronLine(cron=cron)
    else:
        assert CronLine(cron=cron).cron == cron, "day of month or day of week: it comes every Monday of these months"


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "../etc/passwd", "UTC+24:00", "UTC+1", "/etc/localtime", "Europe"]
)
def test_an_unknown_time_zone_is_refused(zone):
    with pytest.raises(ValidationError, match=r"no time zone|no offset"):
        CronLine(cron="@hourly", time_zone=zone)


def test_a_time_zone_is_a_name_or_an_offset():
    at = datetime(2026, 7, 1, tzinfo=UTC)
    assert zone_of("UTC").utcoffset(at) == timedelta()
    assert zone_of("Europe/Berlin").utcoffset(at) == timedelta(hours=2)
    assert zone_of("UTC-03:30").utcoffset(at) == timedelta(hours=-3, minutes=-30)


@pytest.mark.parametrize(
    "change", [{"missed": "sometimes"}, {"catch_up": 0}, {"catch_up": 101}, {"name": "A b"}, {"x": 1}]
)
def test_other_mistakes_are_refused(change):
    with pytest.raises(ValidationError):
        CronLine(cron="@hourly", **change)


@pytest.mark.parametrize(
    ("label", "zone", "args"),
    [
        ({"cron": "0 6 * * *"}, "UTC", {}),
        ({"cron": "0 6 * * *", "cron_offset": "Europe/Berlin", "args": [], "kwargs": {}}, "Europe/Berlin", {}),
        ({"cron": "0 6 * * *", "cron_offset": timedelta(hours=5, minutes=30)}, "UTC+05:30", {}),
        ({"cron": "0 6 * * *", "cron_offset": -timedelta(hours=3)}, "UTC-03:00", {}),
        ({"cron": "0 6 * * *", "cron_offset": timedelta()}, "UTC", {}),
        ({"cron": "0 6 * * *", "kwargs": {"kind": "weekly"}}, "UTC", {"kind": "weekly"}),
        ({"cron": "0 6 * * *", "args": [{"kind": "weekly"}]}, "UTC", {"kind": "weekly"}),
        ({"cron": "0 6 * * *", "args": [Report(days=7)]}, "UTC", {"kind": "daily", "days": 7}),
    ],
)
def test_taskiqs_label_is_read(label, zone, args):
    line = as_line(label)
    assert (line.cron, line.time_zone, line.args) == ("0 6 * * *", zone, args)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"interval": 30}, "intervals are not taken"),
        ({"time": datetime(2026, 1, 1, tzinfo=UTC)}, "run_at"),
        ({"cron": "@hourly", "labels": {"x": 1}}, "labels"),
        ({"kwargs": {}}, "no cron"),
        ({"cron": "@hourly", "args": [1, 2]}, "one command"),
        ({"cron": "@hourly", "args": [{}], "kwargs": {"days": 1}}, "one command"),
        ({"cron": "@hourly", "args": [5]}, "holds a int"),
        ({"cron": "@hourly", "cron_offset": timedelta(seconds=30)}, "whole minutes"),
        ({"cron": "@hourly", "cron_offset": timedelta(days=1)}, "less than a day"),
    ],
)
def test_labels_that_mean_something_else_are_refused(label, words):
    with pytest.raises(ValueError, match=words):
        as_line(label)


def test_ids_are_the_task_and_the_lines_name():
    lines = ({"cron": "@hourly"}, CronLine(cron="@daily", name="night"), {"cron": "@weekly", "schedule_id": "sunday"})
    assert list(schedules_of(scheduled(*lines))) == ["report.make", "report.make:night", "report.make:sunday"]
    assert schedules_of(Report) == {}


def test_a_schedule_that_cannot_be_is_refused_when_the_table_is_made():
    command_table(scheduled({"cron": "@hourly"}))
    with pytest.raises(ValueError, match="two schedules of one name"):
        command_table(scheduled({"cron": "@hourly"}, {"cron": "@daily"}))
    with pytest.raises(ValidationError, match="days"):
        command_table(scheduled({"cron": "@hourly", "kwargs": {"days": "many"}}))


def test_the_purge_keeps_the_id_and_the_instants_it_had():
    """The relay before this one wrote a tick of this id at every full hour: side by side, they make one job."""
    line = schedules_of(ALL["upkeep.purge_history"])["upkeep.purge_history"]
    assert (line.cron, line.time_zone) == ("0 * * * *", "UTC")
