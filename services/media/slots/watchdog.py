"""The second line against files that eat memory: what a running slot really holds, every 50 ms.

RLIMIT_DATA does not count mappings of files and shared memory; the kernel's number of resident pages does. Invariant:
nobody is looked at, and no timer runs, while no slot works.
"""

import asyncio
from collections.abc import Mapping

from services.media.errors import MediaError
from services.media.slots.seat import Seat

EVERY_S = 0.05
MIB = 1024 * 1024


class Watchdog:
    def __init__(self, seats: Mapping[int, Seat], limit_bytes: int) -> None:
        self._seats = seats
        self._limit_bytes = limit_bytes
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """A call has come. Costs nothing while it is awake."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        working = [seat for seat in self._seats.values() if seat.in_flight]
        for seat in working:
            found_bytes = 0 if seat.killed else seat.read_resident()
            if found_bytes > self._limit_bytes:
                seat.overrule(_refusal(found_bytes, self._limit_bytes))
        if working:
            self.wake()


def _refusal(found_bytes: int, limit_bytes: int) -> MediaError:
    words = f"the file needs more memory than a slot has ({found_bytes // MIB} MiB; the limit is {limit_bytes // MIB})"
    return MediaError(words, code="out_of_memory", limit=limit_bytes, found=found_bytes)
