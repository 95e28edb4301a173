"""Following one job, pure: from what a client has seen and what the ledger says now to the events that it lacks.

An event's id is the whole of what its reader has seen: fence, shown state, since when, the last progress, whether the
result. It is made from the ledger alone, so any process can go on from any other's. Two events of one job that follow
each other never have the same id, and where nothing has changed there is nothing to tell. States between two looks
are not told; their order is never wrong.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.kernel.clock import rfc3339
from shared.ledger.progress import shown_progress
from shared.ledger.states import TERMINAL, shown_state

ID_LIMIT_CHARS = 100
_ID = re.compile(r"([0-9]{1,10})\.([a-z]{1,20})\.([0-9]{1,18})\.([0-9]{1,18})(\.result)?", re.ASCII)
Kind = Literal["state", "progress", "result"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """`since` is when the state began, or is to end for one that waits; `progress_at` 0 is none: microseconds."""

    fence: int
    state: str
    since: int
    progress_at: int = 0
    result: bool = False

    @property
    def id(self) -> str:
        return f"{self.fence}.{self.state}.{self.since}.{self.progress_at}{'.result' if self.result else ''}"


@dataclass(frozen=True, slots=True)
class Told:
    """One event. That of kind `result` is completed by whoever reads the job's document."""

    kind: Kind
    seen: Seen
    data: Mapping[str, Any]


def parse_id(text: str | None) -> Seen | None:
    """None for what is no id of ours: its sender is told everything."""
    found = _ID.fullmatch(text) if text and len(text) <= ID_LIMIT_CHARS else None
    if found is None:
        return None
    fence, state, since, progress_at, result = found.groups()
    return Seen(int(fence), state, int(since), int(progress_at), result is not None)


def tell(seen: Seen | None, row: Row, now_us: int) -> list[Told]:
    """What somebody who has `seen` this lacks of `row` (the columns of `store_progress.WATCHED`)."""
    current = _current(row, now_us)
    before = replace(seen, result=False) if seen is not None else None
    told: list[Told] = []
    news = current.progress_at not in (0, before.progress_at if before else 0)
    if before is not None and before.fence == current.fence and news:
        # of the attempt that is known: before it is told how that one ended
        before = replace(before, progress_at=current.progress_at)
        told.append(Told("progress", before, _progress(row)))
        news = False
    if before is None or replace(before, progress_at=0) != replace(current, progress_at=0):
        kept = before.progress_at if before is not None and before.fence == current.fence else 0
        before = replace(current, progress_at=kept)
        told.append(Told("state", before, _state(row, current.state)))
    if news:
        before = current
        told.append(Told("progress", before, _progress(row)))
    if row["state"] in TERMINAL and (told or seen is None or not seen.result):  # or else they have it
        told.append(Told("result", replace(before, result=True), {}))
    return told


def _current(row: Row, now_us: int) -> Seen:
    state = shown_state(row["state"], row["run_at"], row["attempt"], now_us)
    since = row["finished_at"] if state in TERMINAL else row["claimed_at"] if state == "running" else row["run_at"]
    return Seen(int(row["fence"]), state, max(0, int(since or 0)), int(row["progress_at"] or 0))


def _number(row: Row) -> int:
    """Of the attempt that runs, or ran last; 0 before the first."""
    return int(row["attempt"]) + int(row["state"] == "running")


def _state(row: Row, state: str) -> dict[str, Any]:
    return {
        "id": row["id"],
        "state": state,
        "attempt": _number(row),
        "max_attempts": row["max_attempts"],
        "run_at": rfc3339(row["run_at"]),
    }


def _progress(row: Row) -> dict[str, Any]:
    return {"id": row["id"], "attempt": _number(row), **(shown_progress(row) or {})}
