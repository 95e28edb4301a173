"""The rescuer: watches everybody's beats by its own monotonic clock and declares the silent dead.

Nothing compares wall clocks. An incarnation counts as silent only if this process could itself write at every beat
meanwhile: after an outage of the database every observation starts again, so nobody is rescued right after one.
"""

import os
import socket
from dataclasses import dataclass

from shared.contracts.commands import ALL
from shared.kernel.clock import SECOND_US
from shared.kernel.ids import new_id
from shared.kernel.logs import get_logger
from shared.ledger import store_incarnation as store
from shared.ledger.rescue import Rescued, rescue
from shared.runtime.resources import Resources

FORGET_AFTER_US = 24 * 3600 * SECOND_US
log = get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    beat: int
    since_s: float


class Rescuer:
    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._seen: dict[str, _Seen] = {}
        self._own = ""
        self._last_s: float | None = None
        self.capacity: dict[str, int] = {}

    async def run_once(self) -> Rescued:
        """Beat, look at the others, bury the silent, take back what the buried had."""
        try:
            return await self._look()
        except Exception:
            self._seen.clear()
            self._last_s = None
            raise

    async def end(self) -> None:
        if self._own:
            database = self._resources.database
            await store.bury(database, self._own, "ended", database.clock.now_us())

    async def _look(self) -> Rescued:
        database, settings = self._resources.database, self._resources.settings
        await self._beat()
        now_s = database.clock.monotonic_s()
        if self._last_s is not None and now_s - self._last_s > settings.lease_s / 2:
            self._seen.clear()  # we were not looking ourselves: stopped, starved or cut off
        self._last_s = now_s
        rows = await store.living(database)
        self.capacity = {}
        for row in rows:
            self.capacity[row["queue"]] = self.capacity.get(row["queue"], 0) + row["capacity"]
            seen = self._seen.get(row["id"])
            if seen is None or seen.beat != row["beat"]:
                self._seen[row["id"]] = _Seen(row["beat"], now_s)
            elif now_s - seen.since_s >= settings.lease_s and row["id"] != self._own:
                await self._bury(row["id"], seen.beat, now_s - seen.since_s)
        alive = {row["id"] for row in rows}
        self._seen = {incarnation: seen for incarnation, seen in self._seen.items() if incarnation in alive}
        await store.forget(database, database.clock.now_us() - FORGET_AFTER_US)
        return await rescue(database, ALL)

    async def _bury(self, incarnation: str, beat: int, silent_s: float) -> None:
        database = self._resources.database
        words = f"lost: no beat for {silent_s:.1f} s"
        if await store.bury_silent(database, incarnation, beat, words, database.clock.now_us()):
            log.warning("incarnation_buried", incarnation=incarnation, silent_s=round(silent_s, 1))

    async def _beat(self) -> None:
        database = self._resources.database
        if self._own and await store.beat(database, self._own) is not None:
            return
        self._own = new_id("inc")
        await store.born(
            database, self._own, queue="relay", role="relay", host=socket.gethostname(), pid=os.getpid(),
            capacity=0, now_us=database.clock.now_us(),
        )  # fmt: skip
