"""Hours of work, counted once each: which hours are to be counted, and counting them.

An hour is counted when it has been over for a minute, and as a whole: what a window held is read from the ledger, and
its rows and the mark that it is counted are one transaction. The mark moves by compare-and-set, so that two runs, or
one that was declared dead and goes on, never count an hour that another has counted since. Hours that nobody was there
for are made up for as long as the ledger still has all of their jobs; those that retention has touched are left out,
never counted as empty. Retention in turn waits for the mark, for HOLD_US at most.
"""

from dataclasses import dataclass
from typing import Any

from services.api import store_hours as store
from shared.db.engine import Database
from shared.db.reading import looking
from shared.kernel.clock import SECOND_US, rfc3339
from shared.ledger.store_hours import count_ended

HOUR_US = 3600 * SECOND_US
SETTLE_US = 60 * SECOND_US  # a worker's clock may be behind, its last commits under way
HOLD_US = 24 * HOUR_US
HOURS_MOST = 100  # of one run; the next goes on


@dataclass(frozen=True, slots=True)
class Due:
    """Hours to be counted, by their start, oldest first; `lost` so many before them cannot be counted any more."""

    hours: tuple[int, ...]
    lost: int


def purge_before(now_us: int, keep_us: int, mark_us: int | None) -> int:
    """Jobs that ended before then may go: old enough, and counted, unless nobody has counted for a day longer."""
    old_us = now_us - keep_us
    return old_us if mark_us is None else min(old_us, max(mark_us, old_us - HOLD_US))


def due_hours(now_us: int, keep_us: int, mark_us: int | None) -> Due:
    """`mark_us`: the end of the last counted hour."""
    last_us = (now_us - SETTLE_US) // HOUR_US * HOUR_US  # the end of the last that is over
    whole_us = -(-purge_before(now_us, keep_us, mark_us) // HOUR_US) * HOUR_US
    first_us = whole_us if mark_us is None else max(mark_us, whole_us)
    lost = 0 if mark_us is None else (min(first_us, max(last_us, mark_us)) - mark_us) // HOUR_US
    return Due(tuple(range(first_us, last_us, HOUR_US))[:HOURS_MOST], lost)


def first_mark(now_us: int, keep_us: int) -> int:
    """Where counting begins when nothing is left to count: after all that retention may have touched."""
    touched_us = -(-purge_before(now_us, keep_us, None) // HOUR_US) * HOUR_US
    return max((now_us - SETTLE_US) // HOUR_US * HOUR_US, touched_us)


async def count_hours(database: Database, keep_finished_s: float) -> dict[str, Any]:
    """Count what is due; says how many hours, how many rows, and how many hours were lost to retention."""
    mark_us = await store.read_mark(database)
    due = due_hours(database.clock.now_us(), round(keep_finished_s * SECOND_US), mark_us)
    rows = counted = 0
    if mark_us is None and not due.hours:  # retention leaves no hour whole, but waits for the mark once there is one
        begin_us = first_mark(database.clock.now_us(), round(keep_finished_s * SECOND_US))
        if await store.write_hour(database, begin_us - HOUR_US, [], seen=None, mark=begin_us):
            mark_us = begin_us
    for hour_us in due.hours:
        async with looking(database) as connection:
            found = await count_ended(connection, hour_us, hour_us + HOUR_US)
        if not await store.write_hour(database, hour_us, found, seen=mark_us, mark=hour_us + HOUR_US):
            break  # somebody else counts
        mark_us, rows, counted = hour_us + HOUR_US, rows + len(found), counted + 1
    until = None if mark_us is None else rfc3339(mark_us)
    return {"hours": counted, "rows": rows, "lost": due.lost, "until": until}
