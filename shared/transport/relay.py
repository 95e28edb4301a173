"""The relay of one queue: marks due jobs dispatched, commits, and only then adds their ids to the queue's stream.

One pass is `run_once`; what it found says how long to wait. The stream is a small window on the backlog: never fewer
ids than the live workers have slots, never more than about 100 ms of measured drain, so that priority and cancelling
still apply to everything that waits, and Redis stays small. The relay that holds the queue's lock is the only one.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from shared.db.sql import Connection
from shared.kernel.clock import SECOND_US, Clock
from shared.kernel.faultpoints import strike
from shared.ledger import store_dispatch as store
from shared.transport.names import JOB, SOLO, stream
from shared.transport.window import Window

POLL_S = 0.5
FLOOR_LAG_US = 2 * SECOND_US
FLOORS_LIVE_S = 5.0
MAX_PICK = 1_000
_PUBLISH = """
for i = 1, #ARGV, 2 do redis.call('XADD', KEYS[1], '*', ARGV[i], ARGV[i + 1]) end
return redis.call('XLEN', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Pass:
    """`wait_s` until the next look, unless somebody nudges; `forgot` = Redis is not the one that we last wrote to."""

    published: int
    wait_s: float
    full: bool = False
    forgot: bool = False


class QueueRelay:
    def __init__(self, queue: str, redis: "Redis", clock: Clock) -> None:
        self.queue = queue
        self.window = Window()
        self._redis = redis
        self._clock = clock
        self._stream = stream(queue)
        self._epoch_key = f"{self._stream}:epoch"
        self._epoch = ""
        self._publish: Any = redis.register_script(_PUBLISH)
        self._floors = store.zero_floors()
        self._floors_since_s = clock.monotonic_s()

    async def stamp(self) -> None:
        """Leave a mark in Redis that a wiped or restored one will not have."""
        self._epoch = secrets.token_hex(8)
        await self._redis.set(self._epoch_key, self._epoch)

    async def run_once(self, connection: Connection) -> Pass:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xlen(self._stream)
        pipeline.get(self._epoch_key)
        length, epoch = await pipeline.execute()
        forgot = (epoch or b"").decode() != self._epoch
        room = min(self.window.room(length, self._clock.monotonic_s()), MAX_PICK)
        if room <= 0:
            return Pass(0, self.window.full_wait_s(), full=True, forgot=forgot)
        now_us = self._clock.now_us()
        picked = await store.dispatch(connection, self.queue, now_us, room, self._current_floors())
        if picked:
            strike("relay.dispatched")
            entries = [part for job in picked for part in (SOLO if job.solo else JOB, job.id)]
            self.window.added(await self._publish(keys=[self._stream], args=entries))
            for job in picked:
                self._floors[job.priority] = max(self._floors[job.priority], job.run_at - FLOOR_LAG_US)
        if len(picked) == room:
            return Pass(len(picked), self.window.full_wait_s(), full=True, forgot=forgot)
        return Pass(len(picked), await self._idle_wait_s(connection, now_us), forgot=forgot)

    async def _idle_wait_s(self, connection: Connection, now_us: int) -> float:
        due = await store.next_due(connection, self.queue, now_us)
        if due is None:
            return POLL_S
        return min(POLL_S, max(0.0, (due - self._clock.now_us()) / SECOND_US))

    def _current_floors(self) -> list[int]:
        """Back to zero every few seconds: for jobs that committed late or were given back with an old `run_at`."""
        now_s = self._clock.monotonic_s()
        if now_s - self._floors_since_s >= FLOORS_LIVE_S:
            self.reset_floors()
        return self._floors

    def reset_floors(self) -> None:
        self._floors = store.zero_floors()
        self._floors_since_s = self._clock.monotonic_s()
