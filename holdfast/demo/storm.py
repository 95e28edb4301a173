"""The storm: a few hundred jobs and deliveries in flight while a worker is killed with SIGKILL and Redis is wiped.

Afterwards every accepted event must have arrived, verified, and every job must have ended.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import redis.asyncio

from holdfast.demo.receiver import Receiver
from holdfast.demo.story import Story, expect
from holdfast.ledger import run_audit
from holdfast.status import active_workers
from holdfast.system import System

EVENTS = 300
USERS = 40
PHOTOS = 3
WAIT_S = 60.0
AT_ONCE = 20
Tick = Callable[[int], None]


class Storm:
    def __init__(self, system: System, story: Story, receiver: Receiver, tick: Tick) -> None:
        self._system = system
        self._story = story
        self._receiver = receiver
        self._tick = tick
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.events: list[str] = []
        self.killed_workers = 0
        self.redis_wiped = 0

    @property
    def total(self) -> int:
        return EVENTS + USERS + PHOTOS

    @property
    def undelivered(self) -> set[str]:
        return set(self.events) - set(self._receiver.seen["load"])

    async def rage(self) -> None:
        await self._story.endpoint("load", ["load.tick.v1"], [0.5, 1.0, 2.0, 4.0])
        async with asyncio.TaskGroup() as group:
            group.create_task(self._havoc())
            for number in range(EVENTS):
                group.create_task(self._event(number))
            for number in range(USERS):
                group.create_task(self._user(number))
            for _ in range(PHOTOS):
                group.create_task(self._photo())

    async def settle(self) -> dict[str, Any]:
        """The audit's report once every job has ended; raises Broken when that does not come to pass."""
        until_s = time.monotonic() + WAIT_S
        while True:
            report = await run_audit(self._system.database_url)
            moving = sum(report["jobs"].get(state, 0) for state in ("ready", "dispatched", "running"))
            if not moving and not self.undelivered:
                return report
            expect(time.monotonic() < until_s, f"still moving after {WAIT_S:.0f} s: {report['jobs']}")
            await asyncio.sleep(0.2)

    async def _havoc(self) -> None:
        """SIGKILL with deliveries in flight; then, with work in the stream, FLUSHALL."""
        await self._story.received("load", 40)
        for pid in active_workers(self._system.place, "webhooks"):
            os.kill(pid, signal.SIGKILL)
            self.killed_workers += 1
        await self._story.received("load", 120)
        client = redis.asyncio.Redis.from_url(self._system.valkey.url)
        await client.flushall()
        await client.aclose()
        self.redis_wiped += 1

    async def _event(self, number: int) -> None:
        async with self._gate:
            body = {"type": "load.tick.v1", "data": {"number": number}}
            self.events.append((await self._story.post("/v1/webhooks/events", body))["id"])
            self._tick(1)

    async def _user(self, number: int) -> None:
        async with self._gate:
            await self._story.post("/v1/users", {"email": f"user{number}@example.com", "name": f"User {number}"})
            self._tick(1)

    async def _photo(self) -> None:
        async with self._gate:
            await self._story.upload()
            self._tick(1)
