"""The CPU pool: a bounded queue in front of slots, each a process of its own that may die at any moment.

Owns which call goes to which slot, and that there are always as many slots as promised. Invariants: a dead slot fails
the one call that ran in it and no other; a call waits in a slot's channel only while every slot is busy; nothing runs
past its timeout; after `close` no process of the pool is left. Refuses calls above its bounds (PoolFull), and calls
while no child can be started (SlotsUnavailable).

    run() ──► waiting ──► seat (running + 1 queued) ──► answer
                 ▲               │ the slot died
                 └── unstarted ──┴── running ──► SlotDied | DeadlineExceeded
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from services.media import wire
from services.media.call import Call
from services.media.errors import PoolClosed, PoolFull, SlotDied, SlotsUnavailable
from services.media.launcher import Launcher
from services.media.rota import Rota
from services.media.seat import KILL_WAIT_S, Seat
from services.media.slot import SlotLimits
from shared.kernel.errors import HoldfastError
from shared.kernel.logs import get_logger

START_TRIES = 5
BACKOFF_MIN_S = 0.01
BACKOFF_MAX_S = 5.0

log = get_logger("media.pool")


class Pool:
    """`slots` processes that run the TASKS of `tasks_module`; made and used on one event loop."""

    def __init__(
        self,
        slots: int,
        *,
        tasks_module: str = "services.media.slot_tasks",
        data_limit_bytes: int = SlotLimits.data_bytes,
        niceness: int = SlotLimits.niceness,
        deadline_grace_s: float = SlotLimits.deadline_grace_s,
        recycle_after: int = 500,
        waiting_max: int = 64,
        start_timeout_s: float = 10.0,
    ) -> None:
        """A child ends itself `deadline_grace_s` after a call's timeout, should this process be unable to."""
        if slots < 1:
            raise ValueError("a pool needs at least one slot")
        self._count = slots
        self._launcher = Launcher(tasks_module, SlotLimits(data_limit_bytes, niceness, deadline_grace_s))
        self._rota = Rota(recycle_after)
        self._waiting_max = waiting_max
        self._start_timeout_s = start_timeout_s
        self._ids = itertools.count(1)
        self._tenders: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._start_failures = 0
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
            if self._start_failures >= START_TRIES:
                await self.close()
                raise SlotsUnavailable("the media slots cannot be started: see the error output of their processes")

    async def run(
        self,
        task: str,
        args: dict[str, Any],
        *,
        timeout_s: float,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> dict[str, Any]:
        """Run one task in a slot; `timeout_s` counts from its start there, not the wait before.

        `on_progress(fraction, note)` is called with what the task reports, before this returns.

        Raises what services.media.errors lists, and ValueError for args that are no JSON or above 64 KiB. Cancelling
        it ends the child, or withdraws a call that no slot has begun; when it returns, nothing of the call runs.
        """
        call = self._admit(task, args, timeout_s)
        call.on_progress = on_progress
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
        return len(self._rota.waiting) + sum(max(0, len(seat.in_flight) - 1) for seat in self._rota.seats.values())

    def _admit(self, task: str, args: dict[str, Any], timeout_s: float) -> Call:
        if not self._open:
            raise PoolClosed("the media pool is not open")
        if not self._rota.seats and self._start_failures >= START_TRIES:
            raise SlotsUnavailable("no media slot can be started at the moment")
        call_id = next(self._ids)
        message = wire.encode({"id": call_id, "task": task, "args": args, "timeout_s": timeout_s})
        call = Call(call_id, message, timeout_s, asyncio.get_running_loop().create_future())
        self._rota.waiting.append(call)
        self._rota.fill()
        if len(self._rota.waiting) > self._waiting_max and self._rota.waiting[-1] is call:
            self._rota.waiting.pop()
            raise PoolFull(f"{self._waiting_max} calls already wait for a media slot", retry_after_s=1)
        return call

    async def _abandon(self, call: Call) -> None:
        if call in self._rota.waiting:
            self._rota.waiting.remove(call)
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
        while True:
            seat = Seat(self._launcher, self._on_answer)
            try:
                await seat.open(self._start_timeout_s)
            except Exception as error:  # whatever it is, the slot is tried again, ever more slowly
                self._note_failed_start(error)
                await self._back_off()
                continue
            self._rota.seats[place] = seat
            self._changed.set()
            self._rota.fill()
            since = asyncio.get_running_loop().time()
            await asyncio.wait({seat.gone})  # not a bare await: cancelling this task must not cancel the future
            del self._rota.seats[place]
            lived_s = asyncio.get_running_loop().time() - since
            died_idle = not seat.taken and not seat.killed
            await self._settle(seat)
            if lived_s > BACKOFF_MAX_S:
                self._start_failures = 0
            elif died_idle:  # never after a call: a crashing task must not slow its neighbours down
                self._note_failed_start(None)
                await self._back_off()

    async def _settle(self, seat: Seat) -> None:
        """Give back what the dead slot had not begun, and tell the one caller whose call it was."""
        self._rota.give_back(seat.take_unstarted())
        blamed = list(seat.in_flight)
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

    def _note_failed_start(self, error: Exception | None) -> None:
        self._start_failures += 1
        self._changed.set()
        log.warning("media slot did not start", failures=self._start_failures, error=str(error or "it ended idle"))
        if not self._rota.seats and self._start_failures >= START_TRIES:
            self._rota.fail_waiting(SlotsUnavailable("no media slot can be started at the moment"))

    async def _back_off(self) -> None:
        if self._start_failures > 1:  # one death is no pattern
            await asyncio.sleep(min(BACKOFF_MIN_S * 2 ** min(self._start_failures, 20), BACKOFF_MAX_S))

    async def _shut(self) -> None:
        self._open = False
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
