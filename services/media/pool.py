"""The CPU pool: a bounded queue in front of slots, each a process of its own that may die at any moment.

Owns which call goes to which slot, and that there are always as many slots as promised. Invariants: a dead slot fails
the one call that ran in it and no other; a call waits in a slot's channel only while every slot is busy; nothing runs
past its timeout, or keeps more memory than a slot may; after `close` no process of the pool is left. Refuses calls
above its bounds (PoolFull), and calls while no child can be started (SlotsUnavailable).

    run() ──► waiting ──► seat (running + 1 queued) ──► answer
                 ▲               │ the slot died
                 └── unstarted ──┴── running ──► SlotDied | DeadlineExceeded
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from services.media.errors import PoolClosed, PoolFull, SlotDied, SlotsUnavailable
from services.media.settings import MediaSettings
from services.media.slots import wire
from services.media.slots.call import Call
from services.media.slots.launcher import Launcher
from services.media.slots.rota import Rota
from services.media.slots.seat import KILL_WAIT_S, Seat
from services.media.slots.slot import SlotLimits
from services.media.slots.watchdog import Watchdog
from shared.kernel.errors import HoldfastError
from shared.kernel.logs import get_logger

START_TRIES = 5
RESIDENT_LIMIT_BYTES = 1200 * 1024 * 1024
RECYCLE_GROWTH_BYTES = 256 * 1024 * 1024
BACKOFF_MIN_S = 0.01
BACKOFF_MAX_S = 5.0

log = get_logger("media.pool")


def open_pool(settings: MediaSettings, niceness: int = SlotLimits.niceness) -> "Pool":
    """As the settings say, not started."""
    return Pool(
        settings.slots,
        niceness=niceness,
        data_limit_bytes=settings.slot_data_limit_bytes,
        file_limit_bytes=settings.slot_file_limit_bytes,
        required=settings.required_protections,
        resident_limit_bytes=settings.slot_resident_limit_bytes,
        recycle_after=settings.slot_recycle_after,
        recycle_growth_bytes=settings.slot_growth_limit_bytes,
    )


class Pool:
    """`slots` processes that run the TASKS of `tasks_module`; made and used on one event loop."""

    def __init__(
        self,
        slots: int,
        *,
        tasks_module: str = "services.media.slots.slot_tasks",
        data_limit_bytes: int = SlotLimits.data_bytes,
        file_limit_bytes: int = SlotLimits.file_bytes,
        niceness: int = SlotLimits.niceness,
        deadline_grace_s: float = SlotLimits.deadline_grace_s,
        required: Sequence[str] = (),
        resident_limit_bytes: int = RESIDENT_LIMIT_BYTES,
        recycle_after: int = 500,
        recycle_growth_bytes: int = RECYCLE_GROWTH_BYTES,
        waiting_max: int = 64,
        start_timeout_s: float = 10.0,
    ) -> None:
        """A child ends itself `deadline_grace_s` after a call's timeout, should this process be unable to.

        `required`: protections without which no slot serves; `recycle_growth_bytes`: what a slot may hold more after a
        call than when it was new; `waiting_max`: of each of the two lines.
        """
        if slots < 1:
            raise ValueError("a pool needs at least one slot")
        self._count = slots
        limits = SlotLimits(
            data_limit_bytes, niceness, deadline_grace_s, file_bytes=file_limit_bytes, required=tuple(required)
        )
        self._launcher = Launcher(tasks_module, limits)
        self._rota = Rota(recycle_after, recycle_growth_bytes)
        self._watchdog = Watchdog(self._rota.seats, resident_limit_bytes)
        self._waiting_max = waiting_max
        self._start_timeout_s = start_timeout_s
        self._ids = itertools.count(1)
        self._tenders: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._start_failures = 0
        self._start_error = ""
        self._open = False
        self._closing: asyncio.Task[None] | None = None
        self.deaths = 0

    async def start(self) -> None:
        """Return when every slot is ready. Raises SlotsUnavailable, and leaves nothing behind, when they cannot be."""
        if self._tenders or self._closing:
            raise PoolClosed("a pool is started once")
        self._open = True
        self._tenders = [asyncio.create_task(self._tend(place)) for place in range(self._count)]
        while len(self._rota.seats) < self._count:
            self._changed.clear()
            await self._changed.wait()
            if not self._open:
                raise PoolClosed("the media pool was closed while it started")
            if self._start_failures >= START_TRIES:
                await self.close()
                raise SlotsUnavailable(f"the media slots cannot be started: {self._start_error}")

    async def run(
        self,
        task: str,
        args: dict[str, Any],
        *,
        timeout_s: float,
        on_progress: Callable[[float, str], None] | None = None,
        bulk: bool = False,
    ) -> dict[str, Any]:
        """Run one task in a slot; `timeout_s` counts from its start there, not the wait before.

        `on_progress(fraction, note)` is called with what the task reports, before this returns. `bulk` calls wait for
        those that are not. `directory` among the args, if there is one, takes the temporary files of libraries: the
        caller removes it afterwards.

        Raises what services.media.errors lists, and ValueError for args that are no JSON or above 64 KiB. Cancelling
        it ends the child, or withdraws a call that no slot has begun; when it returns, nothing of the call runs.
        """
        self._check_open()
        call_id = next(self._ids)
        message = wire.encode({"id": call_id, "task": task, "args": args, "timeout_s": timeout_s})
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._admit(call := Call(call_id, message, timeout_s, future, bulk=bulk, on_progress=on_progress))
        try:
            return await call.future
        except asyncio.CancelledError:
            await self._abandon(call)
            raise

    async def close(self) -> None:
        """End every child at once and fail what was in flight with PoolClosed; call it as often as you like."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._shut())
        await asyncio.shield(self._closing)

    def pids(self) -> list[int]:
        """The processes that can take a call now."""
        return [seat.pid for seat in self._rota.seats.values() if not seat.gone.done()]

    @property
    def running(self) -> int:
        return sum(1 for seat in self._rota.seats.values() if seat.in_flight)

    @property
    def waiting(self) -> int:
        """Calls that no slot has begun."""
        return self._rota.waiting + sum(max(0, len(seat.in_flight) - 1) for seat in self._rota.seats.values())

    @property
    def protection(self) -> dict[str, str]:
        """Each protection of the newest slot: `on`, or why it is not. Empty before the start."""
        seats = list(self._rota.seats.values())
        return dict(seats[-1].protection) if seats else {}

    def status(self) -> dict[str, Any]:
        """For whoever looks after the worker: {slots, ready, running, waiting, deaths, protection}."""
        return {
            "slots": self._count,
            "ready": len(self.pids()),
            "running": self.running,
            "waiting": self.waiting,
            "deaths": self.deaths,
            "protection": self.protection,
        }

    def _check_open(self) -> None:
        if not self._open:
            raise PoolClosed("the media pool is not open")
        if not self._rota.seats and self._start_failures >= START_TRIES:
            raise SlotsUnavailable("no media slot can be started at the moment")

    def _admit(self, call: Call) -> None:
        if not self._rota.add(call, self._waiting_max):
            raise PoolFull(f"{self._waiting_max} calls already wait for a media slot", retry_after_s=1)
        self._watchdog.wake()

    async def _abandon(self, call: Call) -> None:
        if self._rota.withdraw(call):
            self._rota.fill()  # what waited behind it may be of another kind
            return
        for seat in self._rota.seats.values():
            if call in seat.in_flight:
                if not seat.withdraw(call):
                    seat.kill()
                    await asyncio.wait({seat.gone}, timeout=KILL_WAIT_S)
                self._rota.fill()
                return

    def _on_answer(self) -> None:
        self._start_failures = 0
        self._rota.fill()
        self._rota.retire()

    async def _tend(self, place: int) -> None:
        """Keep one slot alive for as long as the pool is open."""
        while self._open:
            try:
                failed = await self._live(place)
            except Exception as error:  # whatever it is, the slot is tried again, ever more slowly
                self._note_failed_start(error)
                failed = True
            if failed:
                await self._back_off()

    async def _live(self, place: int) -> bool:
        """One slot from its start until what its end leaves is settled; whether it was of no use."""
        seat = Seat(self._launcher, self._on_answer)
        await seat.open(self._start_timeout_s)
        self._rota.seats[place] = seat
        self._changed.set()
        self._rota.fill()
        since = asyncio.get_running_loop().time()
        await asyncio.wait({seat.gone})  # not a bare await: cancelling this task must not cancel the future
        del self._rota.seats[place]
        lived_s = asyncio.get_running_loop().time() - since
        ran_nothing = not await self._settle(seat) and not seat.answered and not seat.killed
        if lived_s > BACKOFF_MAX_S:
            self._start_failures = 0
        elif ran_nothing:  # never after a call: a crashing task must not slow its neighbours down
            self._note_failed_start(None)
            return True
        return False

    async def _settle(self, seat: Seat) -> bool:
        """Give back what the dead slot had not begun, and tell the caller whose call it was; true if there is one."""
        self._rota.give_back(seat.take_unstarted())
        blamed, unread = list(seat.in_flight)[:1], list(seat.in_flight)[1:]
        self._rota.give_back(unread)  # read off by a slot that runs one at a time: nobody's fault but its own
        seat.close()
        self._rota.fill()
        if not seat.killed:
            self.deaths += 1
            log.warning("media slot died", pid=seat.pid, calls=len(blamed))
        for call in blamed:
            error: HoldfastError = PoolClosed("the media pool was closed")
            try:
                error = call.verdict or SlotDied.by(await self._launcher.exit_status(seat.pid))
            finally:
                call.fail(error)
        return bool(blamed)

    def _note_failed_start(self, error: Exception | None) -> None:
        self._start_failures += 1
        self._start_error = str(error or "it ended idle")
        self._changed.set()
        log.warning("media slot did not start", failures=self._start_failures, error=self._start_error)
        if not self._rota.seats and self._start_failures >= START_TRIES:
            self._rota.fail_waiting(SlotsUnavailable("no media slot can be started at the moment"))

    async def _back_off(self) -> None:
        if self._start_failures > 1:  # one death is no pattern
            await asyncio.sleep(min(BACKOFF_MIN_S * 2 ** min(self._start_failures, 20), BACKOFF_MAX_S))

    async def _shut(self) -> None:
        self._open = False
        self._changed.set()
        self._watchdog.stop()
        seats = list(self._rota.seats.values())
        for tender in self._tenders:
            tender.cancel()
        closed = PoolClosed("the media pool was closed")
        self._rota.fail_waiting(closed)
        for seat in seats:
            seat.kill()
        await asyncio.gather(*self._tenders, return_exceptions=True)
        if seats:
            await asyncio.wait({seat.gone for seat in seats}, timeout=KILL_WAIT_S)
        for seat in seats:
            for call in seat.in_flight:
                call.fail(closed)
            seat.close()
        self._rota.fail_waiting(closed)
        await self._launcher.close()
