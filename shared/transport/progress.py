"""The writer of progress in one worker process: what handlers report reaches the ledger in groups, at a pace.

One statement writes a group, and at most ten go in a second, however many jobs report; of one job, one in PACE_S. What
an attempt reported last is written with its end (see `store_record`). Nothing here can fail a handler: a database that
does not answer is tried again, with the newest report only. A job that never reports costs nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from taskiq.depends.progress_tracker import TaskProgress, TaskState

from shared.db.engine import Database
from shared.kernel.logs import get_logger
from shared.ledger.progress import Key, Report, Throttle
from shared.ledger.store_progress import write_progress

FLUSH_S = 0.1  # between two groups
FAILED_S = 2.0
SETTLE_S = 1.0
_STATES = {"completed": TaskState.SUCCESS, "dead": TaskState.FAILURE, "cancelled": TaskState.FAILURE}
log = get_logger(__name__)


class ProgressWriter:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._throttle = Throttle()
        self._task: asyncio.Task[None] | None = None
        self._writing: dict[Key, Report] = {}
        self._written = asyncio.Event()

    def put(self, key: Key, report: Report) -> None:
        """Returns at once; to be called on the loop that the attempt runs on."""
        self._throttle.put(key, report)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="progress")

    def unwritten(self, key: Key) -> Report | None:
        """The newest report of this attempt that is not known to be in the ledger; one under way may come too late."""
        return self._throttle.waiting(key) or self._writing.get(key)

    async def settle(self, key: Key) -> None:
        """Let a write of this attempt that is under way end: its end must not meet it in the database."""
        while key in self._writing:
            try:
                await asyncio.wait_for(self._written.wait(), SETTLE_S)
            except TimeoutError:
                return

    def forget(self, key: Key) -> Report | None:
        """The attempt has ended: what of it is still to be written."""
        return self._throttle.forget(key) or self._writing.get(key)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._throttle.next_s() is not None:
            group = self._throttle.due(loop.time())
            pause_s = FLUSH_S if await self._flush(group) else FAILED_S
            await asyncio.sleep(pause_s)

    async def _flush(self, group: list[tuple[Key, Report]]) -> bool:
        if not group:
            return True
        self._written.clear()
        self._writing = dict(group)
        try:
            await write_progress(self._database, group)
        except Exception as error:
            log.warning("progress_unwritten", jobs=len(group), error=repr(error))
            for key, report in group:
                self._throttle.give_back(key, report)
            return False
        finally:
            self._writing = {}
            self._written.set()
        return True


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
