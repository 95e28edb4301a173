"""Watching jobs for many callers at once: one look at the ledger every LOOK_S for all of a process's watchers.

Every STREAMING_LOOK_S while one of the jobs writes output, or its watcher is `eager`: people read that as it comes.

The ledger alone is asked, so nothing that Redis loses is missed, and jobs that nobody watches cost nothing. The looks
begin with the first watcher and end with the last. A ledger that does not answer is asked again; its watchers wait.
Refuses watchers past the process's bound, and past one caller's (Overloaded).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from shared.db.engine import Database
from shared.kernel.errors import Overloaded
from shared.kernel.logs import get_logger
from shared.ledger.store_progress import read_watched
from shared.runtime.lifecycle import pause

LOOK_S = 0.5
STREAMING_LOOK_S = 0.15  # while a watched job writes output, or somebody waits for its first word
FAILED_S = 2.0
FULL_RETRY_S = 5
log = get_logger(__name__)
Row = Mapping[str, Any]


class Watched:
    """One job as one watcher sees it. `row` is the newest look, None before the first; `gone` when it is not there."""

    def __init__(self, job_id: str, caller: str, *, eager: bool = False) -> None:
        self.eager = eager
        self.job_id = job_id
        self.caller = caller
        self.row: Row | None = None
        self.gone = False
        self.changed = asyncio.Event()
        self._looked_us = 0

    def see(self, row: Row | None, now_us: int) -> None:
        """Wakes its watcher when there may be something to tell: another row, or its time has come."""
        its_time = row is not None and self._looked_us < row["run_at"] <= now_us
        if row != self.row or its_time:
            self.changed.set()
        self.row, self.gone, self._looked_us = row, row is None, now_us

    @property
    def is_known(self) -> bool:
        return self._looked_us > 0

    @property
    def streams(self) -> bool:
        row = self.row
        if row is None or row["finished_at"] is not None:
            return False
        return self.eager or (row["state"] == "running" and row["output_chunks"] > 0)


class JobWatch:
    """One of a process. Every `join` needs its `leave`."""

    def __init__(self, database: Database, *, most: int, most_of_caller: int, look_s: float = LOOK_S) -> None:
        self._database = database
        self._most = most
        self._most_of_caller = most_of_caller
        self._look_s = look_s
        self._watchers: set[Watched] = set()
        self._callers: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()  # somebody has come who does not wait for the next look

    def __len__(self) -> int:
        return len(self._watchers)

    async def join(self, job_id: str, caller: str, *, eager: bool = False) -> Watched:
        """Raises Overloaded, and the database's errors: the job has been looked at when this returns."""
        if len(self._watchers) >= self._most:
            raise Overloaded(f"{self._most} streams are open in this process", retry_after_s=FULL_RETRY_S)
        if self._callers[caller] >= self._most_of_caller:
            words = f"this API key has {self._most_of_caller} streams open here: end one, or follow less"
            raise Overloaded(words, retry_after_s=FULL_RETRY_S)
        joined = Watched(job_id, caller, eager=eager)
        self._watchers.add(joined)
        self._callers[caller] += 1
        try:
            rows = await read_watched(self._database, [job_id])
        except BaseException:
            self.leave(joined)
            raise
        joined.see(rows.get(job_id), self._database.clock.now_us())
        if eager:
            self._hurry.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_on(), name="watch-jobs")
        return joined

    def leave(self, watched: Watched) -> None:
        if watched not in self._watchers:
            return
        self._watchers.remove(watched)
        self._callers[watched.caller] -= 1
        if not self._callers[watched.caller]:
            del self._callers[watched.caller]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_on(self) -> None:
        while self._watchers:
            self._hurry.clear()
            try:
                await self._look()
                streams = any(one.streams for one in self._watchers)
                pause_s = min(STREAMING_LOOK_S, self._look_s) if streams else self._look_s
            except Exception as error:
                log.warning("watch_failed", watchers=len(self._watchers), error=repr(error))
                pause_s = FAILED_S
            await pause(pause_s, self._hurry)

    async def _look(self) -> None:
        asked = [one for one in self._watchers if one.is_known]  # who joins now has a newer look of its own coming
        rows = await read_watched(self._database, list({one.job_id for one in asked}))
        now_us = self._database.clock.now_us()
        for one in asked:  # not those that have come meanwhile: nobody has asked for theirs
            one.see(rows.get(one.job_id), now_us)
