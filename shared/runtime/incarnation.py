"""The life of a worker process in the ledger: it takes a slot, is born, beats, may be declared dead, is born again.

A process that waits for a slot is a warm standby: it has imported and connected everything, and takes over within
milliseconds of the holder's death, and within a second once a holder that is only stopped has been declared dead. That
(a long SIGSTOP, a partition) ends an incarnation, not its process: it goes on as a new one, or stands by in its turn.
"""

import asyncio
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from shared.contracts.commands import ALL
from shared.kernel.ids import new_id
from shared.kernel.logs import get_logger
from shared.ledger import store_incarnation as store
from shared.ledger.rescue import CRASH, rescue
from shared.ledger.states import Claim
from shared.runtime.beat import Beat
from shared.runtime.heartbeat import touch
from shared.runtime.resources import Resources
from shared.runtime.slot import Slot, holders, take_over, try_slot

STANDBY_POLL_S = 0.05
TAKE_OVER_LOOK_S = 1.0
_PR_SET_PDEATHSIG = 1
log = get_logger(__name__)


class WorkerLife:
    """One per process. `take_place` once, then `begin` for each incarnation and `end` when the process drains."""

    def __init__(self, resources: Resources, queue: str, capacity: int) -> None:
        self.queue = queue
        self.capacity = capacity
        self._resources = resources
        self._slot: Slot | None = None
        self._folder = resources.settings.state_dir / "slots"
        self._stop = asyncio.Event()
        self._beat: Beat | None = None
        self.incarnation = ""

    async def take_place(self, stop: asyncio.Event) -> bool:
        """Get a slot, as a standby if need be, and bury the predecessor; False when told to stop first."""
        die_with_parent()
        self._stop = stop
        settings = self._resources.settings
        looked_s = time.monotonic()
        while (slot := try_slot(self._folder, self.queue, settings.slots)) is None:
            if stop.is_set():
                return False
            await asyncio.sleep(STANDBY_POLL_S)
            if time.monotonic() - looked_s >= TAKE_OVER_LOOK_S:
                looked_s = time.monotonic()
                if (slot := await self._succeed_the_stopped()) is not None:
                    break
        self._slot = slot
        if slot.predecessor is not None:
            await self._bury(slot.predecessor)
        return True

    async def _succeed_the_stopped(self) -> Slot | None:
        """A holder that the ledger has declared dead keeps its kernel lock while it is stopped: take its place."""
        held = holders(self._folder, self.queue, self._resources.settings.slots)
        try:
            buried = await store.buried(self._resources.database, list(held.values()))
        except Exception as error:
            log.warning("standby_look_failed", queue=self.queue, error=repr(error))
            return None
        for number, incarnation in held.items():
            if incarnation in buried and (slot := take_over(self._folder, self.queue, number, incarnation)):
                log.warning("place_taken_over", queue=self.queue, incarnation=incarnation)
                return slot
        return None

    async def begin(self, *, on_lost: Callable[[], None], on_running: Callable[[Sequence[Claim]], None]) -> str:
        """The id of the new incarnation; empty when the process was told to stop before there was a place for it."""
        touch(self._resources.settings.state_dir)  # while Redis or the database are away, this is tried again and again
        if self._slot is not None and self._slot.is_taken and not await self._stand_by_again():
            return ""
        self.incarnation = new_id("inc")
        await store.born(
            self._resources.database,
            self.incarnation,
            queue=self.queue,
            role="worker",
            host=socket.gethostname(),
            pid=os.getpid(),
            capacity=self.capacity,
            now_us=self._resources.database.clock.now_us(),
        )
        if self._slot is not None:
            self._slot.occupy(self.incarnation)
        self._beat = Beat(self._resources.settings, self.incarnation, on_lost=on_lost, on_running=on_running)
        self._beat.start()
        self._resources.waker.changed(self.queue)  # there are more slots now
        log.info("incarnation_begun", queue=self.queue, incarnation=self.incarnation, capacity=self.capacity)
        return self.incarnation

    async def _stand_by_again(self) -> bool:
        """While this process was stopped another one took its place; False when told to stop before it got one."""
        if self._slot is not None:
            self._slot.release()
            self._slot = None
        log.warning("place_lost", queue=self.queue)
        return await self.take_place(self._stop)

    async def end(self, reason: str = "ended") -> None:
        """Stop beating and say that this incarnation is over; what it still runs goes back without blame."""
        if self._beat is not None:
            await self._beat.stop()
            self._beat = None
        if not self.incarnation:
            return
        database = self._resources.database
        try:
            await store.bury(database, self.incarnation, reason, database.clock.now_us())
            await self._rescue()
            self._resources.waker.died(self.queue)
        except Exception as error:
            log.warning("incarnation_end_unrecorded", incarnation=self.incarnation, error=repr(error))
        if self._slot is not None:
            self._slot.vacate()
        self.incarnation = ""

    async def _bury(self, predecessor: str) -> None:
        """The slot's lock was free: the process behind it is dead, and it had not ended its work."""
        database = self._resources.database
        words = f"{CRASH}: its slot was found free"
        if await store.bury(database, predecessor, words, database.clock.now_us()):
            log.warning("predecessor_buried", queue=self.queue, incarnation=predecessor)
        await self._rescue()
        self._resources.waker.died(self.queue)

    async def _rescue(self) -> None:
        rescued = await rescue(self._resources.database, ALL)
        for queue in rescued.queues:
            self._resources.waker.wake(queue)


def die_with_parent() -> None:
    """SIGTERM this process when its parent dies: Taskiq's launcher, killed, would leave its child alive."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    except (OSError, AttributeError):
        log.debug("pdeathsig_unavailable")
