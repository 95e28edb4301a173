"""The life of a worker process in the ledger: it takes a slot, is born, beats, may be declared dead, is born again.

A process that waits for a slot is a warm standby: it has imported and connected everything, and takes over within
milliseconds of the holder's death. Being declared dead while alive (a long SIGSTOP, a partition) ends the incarnation,
not the process.
"""

import asyncio
import ctypes
import os
import signal
import socket
from collections.abc import Callable, Sequence

from shared.contracts.commands import ALL
from shared.kernel.ids import new_id
from shared.kernel.logs import get_logger
from shared.ledger import store_incarnation as store
from shared.ledger.rescue import CRASH, rescue
from shared.ledger.states import Claim
from shared.runtime.beat import Beat
from shared.runtime.resources import Resources
from shared.runtime.slot import Slot, try_slot

STANDBY_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1
log = get_logger(__name__)


class WorkerLife:
    """One per process. `take_place` once, then `begin` for each incarnation and `end` when the process drains."""

    def __init__(self, resources: Resources, queue: str, capacity: int) -> None:
        self.queue = queue
        self.capacity = capacity
        self._resources = resources
        self._slot: Slot | None = None
        self._beat: Beat | None = None
        self.incarnation = ""

    async def take_place(self, stop: asyncio.Event) -> bool:
        """Get a slot, as a standby if need be, and bury the predecessor; False when told to stop first."""
        die_with_parent()
        settings = self._resources.settings
        while (slot := try_slot(settings.state_dir / "slots", self.queue, settings.slots)) is None:
            if stop.is_set():
                return False
            await asyncio.sleep(STANDBY_POLL_S)
        self._slot = slot
        if slot.predecessor is not None:
            await self._bury(slot.predecessor)
        return True

    async def begin(self, *, on_lost: Callable[[], None], on_running: Callable[[Sequence[Claim]], None]) -> str:
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
        self._resources.waker.wake(self.queue)
        log.info("incarnation_begun", queue=self.queue, incarnation=self.incarnation, capacity=self.capacity)
        return self.incarnation

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
