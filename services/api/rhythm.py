"""When a feed is to be read: a number of seconds, or a cron line. Pure.

The command's schedule is in the code, and ticks every quarter of an hour; the rhythm is a setting of this service. So
each tick decides which instants of its quarter the setting wants: those are the same whoever decides, and however
late. Seconds are counted from the epoch. Refuses less than SECONDS_LEAST, which would be a load and no rhythm.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile

from shared.contracts.cron import CronLine
from shared.kernel.clock import SECOND_US
from shared.ledger.cron import NeverError, ticks

SECONDS_LEAST, SECONDS_MOST = 10, 7 * 86_400
TICK_US = 900 * SECOND_US  # of the command's schedule


def checked_rhythm(text: str) -> str:
    """As it is used. Raises ValueError for what is neither."""
    if not text.strip().isdigit():
        return CronLine(cron=text).cron
    seconds = int(text)
    if not SECONDS_LEAST <= seconds <= SECONDS_MOST:
        raise ValueError(f"every {seconds} s: give {SECONDS_LEAST} to {SECONDS_MOST} seconds, or a cron line")
    return str(seconds)


def instants(rhythm: str, time_zone: str, tick_us: int) -> list[int]:
    """Those of the quarter of an hour that begins at `tick_us`, which is one of them or not; rising, µs."""
    return list(takewhile(lambda at_us: at_us < tick_us + TICK_US, _from(rhythm, time_zone, tick_us)))


def split(wanted: list[int], now_us: int) -> tuple[bool, list[int]]:
    """Whether to read at once, for all that has passed together, and what is still to come."""
    later = [at_us for at_us in wanted if at_us > now_us]
    return len(later) < len(wanted), later


def _from(rhythm: str, time_zone: str, start_us: int) -> Iterator[int]:
    if rhythm.isdigit():
        every_us = int(rhythm) * SECOND_US
        at_us = -(-start_us // every_us) * every_us
        while True:
            yield at_us
            at_us += every_us
    with suppress(NeverError):
        yield from ticks(rhythm, time_zone, start_us - 1)
