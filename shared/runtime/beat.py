"""The beat: a thread that keeps an incarnation alive in the ledger and watches the event loop of its own process.

It has its own event loop and connection, so that a handler that holds the process's loop cannot starve it; when the
loop stays silent for `wedged_s`, it ends the process, because nothing else can. An unreachable database is not death:
the beat goes on trying. A beat that finds the tombstone reports it once and stops.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence

from shared.db.engine import Database
from shared.kernel.logs import get_logger
from shared.kernel.settings import CoreSettings
from shared.ledger.states import Claim
from shared.ledger.store_claim import own_running
from shared.ledger.store_incarnation import beat
from shared.runtime.heartbeat import touch

EXIT_WEDGED = 70
log = get_logger(__name__)


class Beat:
    def __init__(
        self,
        settings: CoreSettings,
        incarnation: str,
        *,
        on_lost: Callable[[], None],
        on_running: Callable[[Sequence[Claim]], None] | None = None,
    ) -> None:
        """Callbacks run on the event loop that is running now."""
        self._settings = settings
        self._incarnation = incarnation
        self._on_lost = on_lost
        self._on_running = on_running
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._asked_s: float | None = None  # since when the loop has owed an answer
        self._thread = threading.Thread(target=self._main, name="beat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 5.0)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception:
            log.exception("beat_ended")
            os._exit(EXIT_WEDGED)  # a process that cannot beat would be declared dead anyway: end it where it shows

    async def _run(self) -> None:
        database = Database(self._settings.database_url, pool=2)
        opened = False
        last_s = time.monotonic()
        while not self._stop.is_set():
            self._watch(last_s)
            last_s = time.monotonic()
            try:
                if not opened:
                    await database.open()
                    opened = True
                if not await self._beat(database):
                    break
            except Exception as error:
                log.warning("beat_failed", incarnation=self._incarnation, error=repr(error))
            touch(self._settings.state_dir)
            await self._pause()
        await database.close()

    async def _beat(self, database: Database) -> bool:
        if await beat(database, self._incarnation) is None:
            self._call(self._on_lost)
            return False
        if self._on_running is not None:
            running = await own_running(database, self._incarnation)
            self._call(self._on_running, running)
        return True

    async def _pause(self) -> None:
        """A beat's interval, in steps, so that a wedged loop and a stop are seen soon."""
        until_s = time.monotonic() + self._settings.beat_s
        last_s = time.monotonic()
        while not self._stop.is_set() and time.monotonic() < until_s:
            await asyncio.sleep(min(0.25, self._settings.beat_s))
            self._watch(last_s)
            last_s = time.monotonic()

    def _watch(self, last_s: float) -> None:
        """Ask the loop for a sign of life; one that has owed it for too long ends here.

        Only while it is asked: what passes between two looks, however long (SIGSTOP, a paused VM, a database that does
        not answer), is no silence of the loop.
        """
        now_s = time.monotonic()
        asked_s = self._asked_s
        if asked_s is not None and now_s - last_s > 1.0 + self._settings.beat_s:
            self._asked_s = asked_s = now_s  # it has not had the time to answer
        if asked_s is None:
            self._asked_s = now_s
        elif now_s - asked_s > self._settings.wedged_s:
            log.error("event_loop_wedged", silent_s=round(now_s - asked_s, 1), incarnation=self._incarnation)
            os._exit(EXIT_WEDGED)
        self._call(self._answer)  # each time: an answer may have come just before it was noted that one is owed

    def _answer(self) -> None:
        self._asked_s = None

    def _call(self, action: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(action, *values)
        except RuntimeError:  # the loop is closed: the process is on its way out
            self._stop.set()
