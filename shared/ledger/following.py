"""Following one job, pure: from what a client has seen and what the ledger says now to the events that it lacks.

An event's id is the whole of what its reader has seen: fence, shown state, since when, the last progress, how many
chunks of whose output, whether the result. It is made from the ledger alone, so any process can go on from any
other's. Two events of one job that follow each other never have the same id, and where nothing has changed there is
nothing to tell. States between two looks are not told; their order is never wrong. Output is told without a gap, of
the attempt that counts: when a new one takes over from one whose output was read, an empty piece at offset 0 says that
it begins anew.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.kernel.clock import rfc3339
from shared.ledger.progress import shown_progress
from shared.ledger.states import TERMINAL, shown_state

ID_LIMIT_CHARS = 100
NOTHING = (0, 0)
_ID = re.compile(
    r"([0-9]{1,10})\.([a-z]{1,20})\.([0-9]{1,18})\.([0-9]{1,18})(?:\.o([0-9]{1,10})-([0-9]{1,10}))?(\.result)?",
    re.ASCII,
)
Kind = Literal["state", "progress", "output", "result"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """`since` is when the state began, or is to end for one that waits; `progress_at` 0 is none: microseconds.

    `output` is the fence whose output was read, and up to which chunk.
    """

    fence: int
    state: str
    since: int
    progress_at: int = 0
    output: tuple[int, int] = NOTHING
    result: bool = False

    @property
    def id(self) -> str:
        output = "" if self.output == NOTHING else f".o{self.output[0]}-{self.output[1]}"
        result = ".result" if self.result else ""
        return f"{self.fence}.{self.state}.{self.since}.{self.progress_at}{output}{result}"


@dataclass(frozen=True, slots=True)
class Told:
    """One event. That of kind `result` is completed by whoever reads the job's document.

    So is `output` without data by who reads the chunks: it may become several events, whose ids lead to this one's.
    """

    kind: Kind
    seen: Seen
    data: Mapping[str, Any]


def parse_id(text: str | None) -> Seen | None:
    """None for what is no id of ours: its sender is told everything."""
    found = _ID.fullmatch(text) if text and len(text) <= ID_LIMIT_CHARS else None
    if found is None:
        return None
    fence, state, since, progress_at, whose, upto, result = found.groups()
    output = NOTHING if whose is None else (int(whose), int(upto))
    return Seen(int(fence), state, int(since), int(progress_at), output, result is not None)


def tell(seen: Seen | None, row: Row, now_us: int) -> list[Told]:
    """What somebody who has `seen` this lacks of `row` (the columns of `store_progress.WATCHED`)."""
    current = _current(row, now_us)
    before = replace(seen, result=False) if seen is not None else None
    told: list[Told] = []
    if before is not None and before.fence == current.fence:
        # of the attempt that is known: before it is told how that one ended
        before = _written(told, before, current, row)
    elif before is not None and before.output[0] != current.fence and before.output[1] > 0:
        before = replace(before, output=(current.fence, 0))
        told.append(Told("output", before, output_data(row, 0, "")))
    if before is None or not _same_state(before, current):
        same = before if before is not None and before.fence == current.fence else None
        kept = (same.progress_at, same.output) if same is not None else (0, NOTHING)
        before = replace(current, progress_at=kept[0], output=kept[1])
        told.append(Told("state", before, _state(row, current.state)))
    before = _written(told, before, current, row)
    if row["state"] in TERMINAL and (told or seen is None or not seen.result):  # or else they have it
        told.append(Told("result", replace(before, result=True), {}))
    return told


def output_data(row: Row, offset: int, text: str) -> dict[str, Any]:
    """`offset`: the characters of this attempt's output that stand before `text`; at 0 it begins anew."""
    return {"id": row["id"], "attempt": _number(row), "offset": offset, "text": text}


def _written(told: list[Told], before: Seen, current: Seen, row: Row) -> Seen:
    """Tell what the attempt has reported and written since; returns what has been seen then."""
    if current.progress_at not in (0, before.progress_at):
        before = replace(before, progress_at=current.progress_at)
        told.append(Told("progress", before, _progress(row)))
    if current.output[1] > chunks_seen(before):
        before = replace(before, output=current.output)
        told.append(Told("output", before, {}))
    return before


def chunks_seen(seen: Seen | None) -> int:
    """Of the output of the fence that it knows."""
    return seen.output[1] if seen is not None and seen.output[0] == seen.fence else 0


def _same_state(one: Seen, other: Seen) -> bool:
    return (one.fence, one.state, one.since) == (other.fence, other.state, other.since)


def _current(row: Row, now_us: int) -> Seen:
    state = shown_state(row["state"], row["run_at"], row["attempt"], now_us)
    since = row["finished_at"] if state in TERMINAL else row["claimed_at"] if state == "running" else row["run_at"]
    fence, chunks = int(row["fence"]), int(row["output_chunks"])
    output = (fence, chunks) if chunks else NOTHING
    return Seen(fence, state, max(0, int(since or 0)), int(row["progress_at"] or 0), output)


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
