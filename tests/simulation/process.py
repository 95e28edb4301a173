"""A simulated process: everything it says to the outside passes one gate, where the network and death may strike.

Killing a process means that its gate never opens again; code between two calls has no effect on the world, so there
is nothing else to stop. SIGSTOP closes the gate until the process is continued.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

SLOWEST_S = 0.03
LATEST_S = 6.0
current_process: ContextVar["Process"] = ContextVar("simulated_process")


class ProcessClock:
    """The world's clock as this process sees it: wall clocks are apart, monotonic ones run alike."""

    def __init__(self, clock, skew_us):
        self._clock = clock
        self._skew_us = skew_us

    def now_us(self):
        return self._clock.now_us() + self._skew_us

    def monotonic_s(self):
        return self._clock.monotonic_s()

    def step(self, by_us):
        """Somebody sets this process's wall clock."""
        self._skew_us += by_us


class Process:
    def __init__(self, world, name: str, *, killable: bool = True) -> None:
        self.world = world
        self.name = name
        self.killable = killable
        self.alive = True
        self.clock = ProcessClock(world.clock, world.random.choice(world.plan.skews_us))
        self.trouble_us = 0  # when something last kept it from doing its work
        self.stop: asyncio.Event = asyncio.Event()
        self.on_death: Callable[[Process], None] = lambda _: None
        self._stopped: asyncio.Future[None] | None = None
        self._cut: dict[str, int] = {}

    async def call(self, target: str, name: str, operate: Callable[[], Any], lock: str | None = None) -> Any:
        """Say one thing to `target` ("database" or "redis"): it happens at one instant, or not, or unheard of."""
        fate = await self.reach(target, name)
        if fate == "late":
            self.world.later(self.world.random.uniform(0.01, LATEST_S), self, name, operate, lock)
            raise ConnectionError("no answer in time")
        result = operate()
        await self.answered(fate)
        return result

    async def reach(self, target: str, name: str) -> str | None:
        """Get to the instant at which it happens; returns what is to become of the answer."""
        world = self.world
        wait_s = world.random.random()
        if wait_s > 0.6:
            await asyncio.sleep(SLOWEST_S * (2.5 * (wait_s - 0.6)) ** 3)
        await self.awake()
        if world.clock.now_us() < self._cut.get(target, 0):
            self.trouble_us = world.clock.now_us()
            await asyncio.sleep(0.05)
            raise ConnectionError(f"{target} is cut off")
        fate = world.fate(self, target)
        if fate is None:
            return None
        world.note(self, f"fault:{fate}", name)
        self.trouble_us = world.clock.now_us()
        if fate == "refused":
            raise ConnectionError("refused")
        if fate == "die_before":
            self.die()
            await self.awake()
        if fate == "stop_before":
            self.pause(world.random.uniform(0.1, world.plan.longest_stop_s))
            await self.awake()
            return None
        return fate

    async def answered(self, fate: str | None) -> None:
        """The answer is on its way; raises when it is lost."""
        if fate == "die_after":
            self.die()
        elif fate == "stop_after":
            self.pause(self.world.random.uniform(0.1, self.world.plan.longest_stop_s))
        elif self.world.random.random() < 0.2:
            await asyncio.sleep(SLOWEST_S * self.world.random.random() ** 3)
        await self.awake()
        if fate in ("lost", "late"):
            raise ConnectionError("the answer was lost")

    async def awake(self) -> None:
        """Return at once while it runs, later when it is stopped, never when it is dead."""
        if self.world.over:
            raise asyncio.CancelledError
        while self._stopped is not None and self.alive:
            await asyncio.shield(self._stopped)
        if not self.alive:
            never = asyncio.get_running_loop().create_future()
            self.world.limbo.append(never)  # or the collector would end what hangs here, whenever it likes
            await never

    async def work(self, seconds: float) -> None:
        """What a handler does with its time."""
        await asyncio.sleep(seconds)
        await self.awake()

    def die(self) -> None:
        if self.alive:
            self.alive = False
            self.world.note(self, "died")
            self.resume()
            self.on_death(self)

    def pause(self, seconds: float) -> None:
        if self._stopped is None and self.alive:
            self.world.note(self, "stopped", round(seconds, 2))
            self.trouble_us = self.world.clock.now_us()
            self._stopped = asyncio.get_running_loop().create_future()
            self.world.loop.call_later(seconds, self.resume)

    def resume(self) -> None:
        stopped, self._stopped = self._stopped, None
        if stopped is not None and not stopped.done():
            self.trouble_us = self.world.clock.now_us()
            stopped.set_result(None)

    def cut(self, target: str, seconds: float) -> None:
        self._cut[target] = self.world.clock.now_us() + round(seconds * 1e6)
        self.trouble_us = self._cut[target]

    @property
    def cut_off(self) -> bool:
        return self.world.clock.now_us() < max(self._cut.values(), default=0)

    @property
    def stopped(self) -> bool:
        return self._stopped is not None
