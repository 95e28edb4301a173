"""An event loop without a selector: when nothing is ready, its clock jumps to the next timer."""

import asyncio
import math

from shared.kernel.clock import ManualClock


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: the run waits for something that will never come."""


class VirtualLoop(asyncio.BaseEventLoop):
    def __init__(self, clock: ManualClock):
        super().__init__()
        self._clock = clock
        self._clock_resolution = 1e-6
        self._selector = self

    def time(self):
        return self._clock.monotonic_s()

    def select(self, timeout):
        if timeout is None:
            raise Stuck
        if timeout > 0:
            self._clock._now_us += math.ceil(timeout * 1e6)
        return ()

    def _process_events(self, events):
        """There are none: everything is a timer or already ready."""

    def _write_to_self(self):
        """Nobody sleeps who would have to be woken."""
