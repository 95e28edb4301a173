"""The ticks of a cron line: instants, integer microseconds UTC. Pure.

CronSim reads the line and walks wall times; what an offset that changes does to them is decided here, as Debian's cron
does it, and so that the ticks are one rising sequence, the same from whichever earlier instant it is walked:

- A line whose minute and hour are both fixed ("30 2 * * *": neither begins with `*`) ticks once for every wall time.
  One that does not exist ticks at the first instant after the gap, together with others of that gap; one that exists
  twice ticks the first time only.
- A line with a `*` at the head of minute or hour ("*/15 * * * *", "0 * * * *") ticks whenever the local clock shows it:
  never in a gap, and both times in an hour that comes twice. It goes on through either as a steady clock does.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice

from cronsim import CronSim

from shared.contracts.cron import zone_of
from shared.kernel.clock import SECOND_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
COUNT_MOST = 1_000  # missed ticks are counted so far, one by one
_FIRST_WINDOW_US = 60 * SECOND_US


class NeverError(ValueError):
    """The line has no tick in the next 50 years."""


def next_tick(cron: str, time_zone: str, after_us: int) -> int:
    """The first tick later than `after_us`. Raises NeverError, ValueError."""
    zone = zone_of(time_zone)
    after = _EPOCH + timedelta(seconds=after_us // SECOND_US)
    found = _next_fixed(cron, zone, after) if _is_fixed(cron) else _next_shown(cron, zone, after)
    if found is None:
        raise NeverError(f"{cron!r} never comes")
    return (found - _EPOCH) // _SECOND * SECOND_US


def ticks(cron: str, time_zone: str, after_us: int) -> Iterator[int]:
    while True:
        after_us = next_tick(cron, time_zone, after_us)
        yield after_us


def next_ticks(cron: str, time_zone: str, after_us: int, most: int) -> list[int]:
    """At most `most` ticks later than `after_us`; fewer when there are no more."""
    found: list[int] = []
    with suppress(NeverError):
        found.extend(islice(ticks(cron, time_zone, after_us), most))
    return found


@dataclass(frozen=True, slots=True)
class Due:
    """What is due of a schedule: `latest` rise to the latest tick; `count` is of all, and no more than COUNT_MOST."""

    latest: tuple[int, ...]
    count: int


def due_ticks(cron: str, time_zone: str, first_us: int, now_us: int, most: int) -> Due:
    """Ticks from `first_us` (a tick) to `now_us`, the latest `most` of them; bounded however long the downtime was."""
    found = [first_us]
    for tick in ticks(cron, time_zone, first_us):
        if tick > now_us:
            return Due(tuple(found[-most:]), len(found))
        if len(found) >= COUNT_MOST:
            break
        found.append(tick)
    window_us = _FIRST_WINDOW_US
    while True:
        start_us = max(first_us, now_us - window_us)
        latest: list[int] = []
        for tick in ticks(cron, time_zone, start_us):
            if tick > now_us:
                break
            latest = [*latest[-most + 1 :], tick] if most > 1 else [tick]
        if len(latest) == most or start_us == first_us:
            return Due(tuple(latest), COUNT_MOST)
        window_us *= 2


def _is_fixed(cron: str) -> bool:
    minute, hour = cron.split()[-5:-3]
    return not (minute.startswith("*") or hour.startswith("*"))


def _next_fixed(cron: str, zone: tzinfo, after: datetime) -> datetime | None:
    """Wall times in order give instants in order, some of them twice; what is not later is gone by."""
    for wall in CronSim(cron, after.astimezone(zone).replace(tzinfo=None)):
        instant = _instant(wall, zone)
        if instant > after:
            return instant
    return None


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    """The first instant at which the clock shows `wall`, or the end of the gap that it falls into."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(first, zone) == wall:
        return first
    # In a gap, the offset from before it leads past its end, and the one from after it to before its start.
    return _change(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first, zone)


def _next_shown(cron: str, zone: tzinfo, after: datetime) -> datetime | None:
    """Between two changes of the offset, wall times are as steady as instants: walk one such stretch after another."""
    give_up = after + 51 * 366 * _DAY
    while after < give_up:
        offset = _offset(after, zone)
        wall = next(CronSim(cron, (after + offset).replace(tzinfo=None)), None)
        if wall is None:
            return None
        instant = wall.replace(tzinfo=UTC) - offset
        changed = _first_change(after, instant, zone)
        if changed is None:
            return instant
        if _shows(cron, _wall(changed, zone)):
            return changed
        after = changed
    return None


def _shows(cron: str, wall: datetime) -> bool:
    return next(CronSim(cron, wall - _SECOND)) == wall


def _first_change(after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
    """When the offset first changes in (after, until]; two changes within a day that undo each other are not seen."""
    low = after
    while low < until:
        high = min(low + _DAY, until)
        if _offset(low, zone) != _offset(high, zone):
            return _change(low, high, zone)
        low = high
    return None


def _change(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """The first instant in (low, high] whose offset is not that of `low`, by halves, to the second."""
    offset = _offset(low, zone)
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
    return high


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _wall(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)
