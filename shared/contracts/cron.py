"""When a command is to run by itself: a cron line as data, and Taskiq's label form read as one.

Five fields (minute, hour, day of month, month, day of week) with lists, ranges, steps, names, `L`, `LW` and `MON#2`, or
`@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`. Refuses seconds, unknown time zones,
lines that never come, and Taskiq's `interval` and `time`. What daylight saving does to a line: `shared.ledger.cron`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, field_validator

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CATCH_UP_MOST = 100
_FIXED = re.compile(r"UTC([+-])([0-9]{2}):([0-5][0-9])")
_LABEL_KEYS = {"cron", "cron_offset", "args", "kwargs", "schedule_id"}
_DAY_MINUTES = 24 * 60


class CronLine(BaseModel):
    """`args` are fields of the command; `missed` says what becomes of ticks that nobody was there for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str
    time_zone: str = "UTC"  # an IANA name, or a fixed offset as UTC+05:30
    args: Mapping[str, Any] = Field(default_factory=dict)
    missed: Literal["skip", "once", "all"] = "once"
    catch_up: int = Field(10, ge=1, le=CATCH_UP_MOST)  # at most so many of the latest missed ticks, with `all`
    name: str = Field("", pattern=r"^([a-z0-9][a-z0-9_-]{0,39})?$")  # needed where a command has several lines

    @field_validator("cron")
    @classmethod
    def _comes(cls, value: str) -> str:
        text = " ".join(ALIASES.get(value.strip().lower(), value).split())
        if len(text.split()) != 5:
            raise ValueError(f"{value!r} is no cron line: five fields, or one of {', '.join(ALIASES)}")
        try:
            next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
        except CronSimError as wrong:
            raise ValueError(f"{value!r} is no cron line: {wrong}") from None
        except StopIteration:
            raise ValueError(f"{value!r} never comes") from None
        return text

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        zone_of(value)
        return value


def zone_of(name: str) -> tzinfo:
    """The time zone of an IANA name or of a fixed offset `UTC+05:30`. Raises ValueError."""
    if name == "UTC":
        return UTC
    fixed = _FIXED.fullmatch(name)
    if fixed is not None:
        minutes = int(fixed[2]) * 60 + int(fixed[3])
        if minutes >= _DAY_MINUTES:
            raise ValueError(f"{name} is no offset: it must be less than a day")
        return timezone(timedelta(minutes=minutes if fixed[1] == "+" else -minutes))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {name!r}: give an IANA name like Europe/Berlin, or an offset like UTC+05:30"
        ) from None


def as_line(given: CronLine | Mapping[str, Any]) -> CronLine:
    """Read Taskiq's label form `{"cron", "cron_offset", "args", "kwargs", "schedule_id"}` too. Raises ValueError.

    `cron_offset` is a time zone's name or a timedelta, whole minutes that local time is ahead of UTC; `args` holds the
    command's one argument, as Taskiq's messages do here, and `kwargs` its fields by name: one of the two.
    """
    if isinstance(given, CronLine):
        return given
    unknown = sorted(given.keys() - _LABEL_KEYS)
    if {"interval", "time"} & given.keys():
        raise ValueError("a schedule is a cron line here: for one moment enqueue with run_at; intervals are not taken")
    if unknown or "cron" not in given:
        known = ", ".join(sorted(_LABEL_KEYS))
        raise ValueError(f"a schedule's label has {known}; found {', '.join(unknown) or 'no cron'}")
    return CronLine(
        cron=given["cron"],
        time_zone=_zone_name(given.get("cron_offset")),
        args=_fields(given.get("args") or [], given.get("kwargs") or {}),
        name=given.get("schedule_id", ""),
    )


def _zone_name(offset: str | timedelta | None) -> str:
    if not isinstance(offset, timedelta):
        return offset or "UTC"
    seconds = round(offset.total_seconds())
    if seconds % 60 or abs(seconds) >= _DAY_MINUTES * 60:
        raise ValueError(f"cron_offset is {offset}: it must be whole minutes, less than a day")
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"UTC{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}" if seconds else "UTC"


def _fields(args: Any, kwargs: Any) -> Mapping[str, Any]:
    if len(args) > 1 or (args and kwargs):
        raise ValueError("a task takes one command: give it as args [{…}], or its fields as kwargs")
    if not args:
        return dict(kwargs)
    fields = args[0].model_dump(mode="json") if isinstance(args[0], BaseModel) else args[0]
    if isinstance(fields, Mapping):
        return fields
    raise ValueError(f"args holds a {type(fields).__name__}: it must be the command, or its fields as an object")
