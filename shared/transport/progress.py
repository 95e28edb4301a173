"""Progress in Taskiq's words: what its ProgressTracker is told, and what it answers.

The ledger keeps a fraction and a note, Taskiq a state of the caller's own and anything as `meta`: neither is refused,
and what is neither number nor note is kept as JSON in the note.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from taskiq.depends.progress_tracker import TaskProgress, TaskState

from shared.ledger.progress import Report

_STATES = {"completed": TaskState.SUCCESS, "dead": TaskState.FAILURE, "cancelled": TaskState.FAILURE}


def from_taskiq(progress: TaskProgress[Any], before: Report | None) -> tuple[float, str]:
    """(fraction, note) of what Taskiq's ProgressTracker was told.

    The fraction is `meta` when that is a number, or its `fraction`; without one it stays as it was. The note is the
    state, when it is a word of the caller's own, or `meta["note"]`, or what else `meta` holds, as JSON.
    """
    fraction, meta = (before.fraction if before else 0.0), progress.meta
    note = ""
    if isinstance(meta, (int, float)):
        fraction = float(meta)
    elif isinstance(meta, Mapping):
        rest = {name: value for name, value in meta.items() if name not in ("fraction", "note")}
        fraction = float(meta.get("fraction", fraction))
        note = str(meta.get("note") or "") or (orjson.dumps(rest, default=str).decode() if rest else "")
    elif meta is not None:
        note = str(meta)
    return fraction, note if isinstance(progress.state, TaskState) else str(progress.state)


def to_taskiq(row: Mapping[str, Any]) -> TaskProgress[Any] | None:
    """`meta` is `{fraction, note}`, `state` the job's; None when nothing has been reported."""
    if row["progress_at"] is None:
        return None
    waits = TaskState.RETRY if row["state"] == "ready" else TaskState.STARTED
    meta = {"fraction": row["progress"], "note": row["progress_note"] or ""}
    return TaskProgress(state=_STATES.get(row["state"], waits), meta=meta)
