"""The clock: instants are integer microseconds since the epoch, UTC; nothing else in the ledger is a time.

Code that decides by time takes a `Clock`, so that a simulation can own it. Wall clocks schedule work;
they are never compared between machines to decide that somebody is dead (see `shared.runtime.rescue`).
"""

import time
from datetime import UTC, datetime
from typing import Protocol

SECOND_US = 1_000_000


class Clock(Protocol):
    def now_us(self) -> int:
        """Wall time in microseconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of a clock that never steps; only differences mean anything."""
        ...


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told: for tests and the simulation."""

    def __init__(self, start_us: int = 1_700_000_000 * SECOND_US) -> None:
        self._now_us = start_us

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._now_us / SECOND_US

    def advance(self, seconds: float) -> None:
        self._now_us += round(seconds * SECOND_US)


def after_us(now_us: int, seconds: float) -> int:
    return now_us + round(seconds * SECOND_US)


def rfc3339(at_us: int | None) -> str | None:
    """`2026-01-31T12:00:00.123456Z`, or None for None."""
    if at_us is None:
        return None
    moment = datetime.fromtimestamp(at_us // SECOND_US, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_us % SECOND_US:06d}Z"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = datetime.max.replace(tzinfo=UTC) - _EPOCH


def from_rfc3339(text: str) -> int:
    """Microseconds since the epoch; ValueError for what is no instant with an offset, or before 1970 or after 9999."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or "T" not in text.upper():
        raise ValueError("give an instant with its offset, as 2026-01-31T12:00:00Z")
    since = moment - _EPOCH
    if since.days < 0:
        raise ValueError("that was before 1970")
    if since > _MOST:
        raise ValueError("that is after 9999")
    return (since.days * 86_400 + since.seconds) * SECOND_US + since.microseconds
