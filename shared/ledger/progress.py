"""Progress of a running attempt, pure: what a report is, how often one is written, and how people are shown it.

A report can never harm its attempt or its neighbours in a group: a fraction is brought between 0 and 1, a note is cut
and freed of what a database refuses, and only the newest report of an attempt is kept. Refuses a fraction that is no
number. Instants of one attempt's reports rise strictly, so that each report can be told from the one before.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.kernel.clock import rfc3339

NOTE_LIMIT_CHARS = 200
PACE_S = 0.5  # between two writes of one job's progress
Key = tuple[str, int, str]  # job, fence, incarnation: of the one attempt that may write it


@dataclass(frozen=True, slots=True)
class Report:
    """`fraction` is 0 to 1, `at` microseconds since the epoch."""

    fraction: float
    note: str
    at: int


def make_report(fraction: float, note: str, now_us: int, before: Report | None = None) -> Report:
    """Raises ValueError for NaN, TypeError for what is no number."""
    if math.isnan(fraction):
        raise ValueError("progress is a number between 0 and 1, not NaN")
    at = now_us if before is None else max(now_us, before.at + 1)
    return Report(min(1.0, max(0.0, float(fraction))), clean_note(note), at)


def storable(text: str) -> str:
    """What both databases hold: no NUL, no lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


def clean_note(note: str) -> str:
    """Storable, and at most NOTE_LIMIT_CHARS."""
    text = storable(str(note))
    return text if len(text) <= NOTE_LIMIT_CHARS else text[: NOTE_LIMIT_CHARS - 1] + "…"


def shown_progress(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """`{fraction, note, at}` of the newest attempt, from a job's row; None when it has reported nothing."""
    if row["progress_at"] is None:
        return None
    return {"fraction": row["progress"], "note": row["progress_note"] or "", "at": rfc3339(row["progress_at"])}


class Throttle:
    """What waits to be written: one report for each attempt, the newest, and none sooner than PACE_S after the last."""

    def __init__(self, pace_s: float = PACE_S) -> None:
        self._pace_s = pace_s
        self._waiting: dict[Key, Report] = {}
        self._written_s: dict[Key, float] = {}

    def put(self, key: Key, report: Report) -> None:
        self._waiting[key] = report

    def due(self, now_s: float) -> list[tuple[Key, Report]]:
        """What may be written now, in the order of the jobs' ids, so that two writers lock rows in one order."""
        keys = sorted(key for key in self._waiting if self._due_s(key) <= now_s)
        self._written_s.update(dict.fromkeys(keys, now_s))
        return [(key, self._waiting[key]) for key in keys]

    def written(self, key: Key, report: Report) -> None:
        """That one is in the ledger; a newer one still waits."""
        if self._waiting.get(key) == report:
            del self._waiting[key]

    def next_s(self) -> float | None:
        """When the next one is due; None when nothing waits."""
        return min((self._due_s(key) for key in self._waiting), default=None)

    def rest(self, key: Key) -> Report | None:
        """The newest report of this attempt that is not known to be in the ledger; it may be on its way."""
        return self._waiting.get(key)

    def forget(self, key: Key) -> Report | None:
        """The attempt has ended: what of it was still to be written."""
        self._written_s.pop(key, None)
        return self._waiting.pop(key, None)

    def __len__(self) -> int:
        return len(self._waiting.keys() | self._written_s.keys())

    def _due_s(self, key: Key) -> float:
        written_s = self._written_s.get(key)
        return -math.inf if written_s is None else written_s + self._pace_s
