"""Wake-ups: after a commit, one Redis publish nudges the relay of the queue (p50 1.2 ms against 250 ms of polling).

A nudge may be lost, and nothing depends on it: the relay looks by itself twice a second. Nudges of the same queue
that come while one is on its way are one.
"""

import asyncio

from redis.asyncio import Redis

from shared.kernel.logs import get_logger
from shared.transport.names import wake_channel

log = get_logger(__name__)


class Waker:
    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._wanted: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def wake(self, queue: str) -> None:
        """Nudge soon; never waits, never fails."""
        self._wanted.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._publish(), name="waker")

    async def _publish(self) -> None:
        while self._wanted:
            queue = self._wanted.pop()
            try:
                await self._redis.publish(wake_channel(queue), b"")
            except Exception as error:
                log.debug("wake_lost", queue=queue, error=repr(error))
                self._wanted.clear()

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=1)
