"""The relay of one queue: marks due jobs dispatched, commits, and only then adds their ids to the queue's stream.

One pass is `run_once`; what it found says how long to wait. The stream is a small window on the backlog: never fewer
ids than the live workers have slots, never more than about 100 ms of measured drain, so that priority and cancelling
still apply to everything that waits, and Redis stays small. The relay that holds the queue's lock is the only one.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from shared.contracts.commands import ALL
from shared.db.sql import Connection, Row
from shared.kernel.clock import SECOND_US, Clock
from shared.kernel.faultpoints import strike
from shared.ledger.states import SUSPECT_CRASHES
from shared.transport.chooser import Chooser
from shared.transport.names import JOB, SOLO, stream
from shared.transport.window import Window
from shared.transport.withdrawal import withdraw

POLL_S = 0.5
MAX_PICK = 1_000
_PUBLISH = """
for i = 1, #ARGV, 2 do redis.call('XADD', KEYS[1], '*', ARGV[i], ARGV[i + 1]) end
return {redis.call('XLEN', KEYS[1]), redis.call('GET', KEYS[2])}
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
        self._forgot = False
        self._publish: Any = redis.register_script(_PUBLISH)
        self._chooser = Chooser(queue, clock, {name: command.lanes for name, command in ALL.items()})

    async def stamp(self) -> None:
        """Leave a mark in Redis that a wiped or restored one will not have."""
        self._epoch = secrets.token_hex(8)
        await self._redis.set(self._epoch_key, self._epoch)

    async def reset(self, connection: Connection) -> None:
        """Take everything from the ledger again: what is paused, who is under way, what is due.

        Of what is paused, nothing that no worker has claimed stays in the stream.
        """
        await self._chooser.reset(connection)
        now_us = self._clock.now_us()
        back = await withdraw(connection, self._redis, self.queue, now_us, everything=self._chooser.paused)
        self._chooser.returned(back)

    def nudged(self) -> None:
        self._chooser.nudged()

    @property
    def waits_for_an_end(self) -> bool:
        """Something is due that may start when a job of its lane has ended."""
        return self._chooser.lanes.is_waited_for

    def returned(self, rows: Sequence[Row]) -> None:
        """Reconcile has put these back in line."""
        self._chooser.returned(rows)

    async def run_once(self, connection: Connection) -> Pass:
        self._forgot = False
        room = min(self.window.sure_room(self._clock.monotonic_s()) or await self._room(), MAX_PICK)
        if room <= 0:
            return Pass(0, self.window.full_wait_s(), full=True, forgot=self._forgot)
        if self._chooser.paused:
            return Pass(0, POLL_S, forgot=self._forgot)
        now_us = self._clock.now_us()
        await self._chooser.look(connection, now_us)
        published = await self._publish_next(connection, room, now_us)
        if published == room:
            return Pass(published, self.window.full_wait_s(), full=True, forgot=self._forgot)
        wait_s = await self._idle_wait_s(connection) if self._chooser.is_still else 0.0
        return Pass(published, wait_s, forgot=self._forgot)

    async def _room(self) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xlen(self._stream)
        pipeline.get(self._epoch_key)
        length, epoch = await pipeline.execute()
        self._meet(epoch)
        return self.window.room(length, self._clock.monotonic_s())

    def _meet(self, epoch: bytes | None) -> None:
        self._forgot = self._forgot or (epoch or b"").decode() != self._epoch

    async def _publish_next(self, connection: Connection, room: int, now_us: int) -> int:
        chosen = await self._chooser.choose(connection, room, now_us)
        if not chosen:
            return 0
        marked = await self._chooser.mark(connection, chosen, now_us)
        strike("relay.dispatched")
        entries = [part for job in marked for part in (SOLO if job.crashes >= SUSPECT_CRASHES else JOB, job.id)]
        if entries:
            length, epoch = await self._publish(keys=[self._stream, self._epoch_key], args=entries)
            self._meet(epoch)
            self.window.added(length)
        return len(chosen)

    async def _idle_wait_s(self, connection: Connection) -> float:
        due = await self._chooser.wait_until(connection)
        if due is None:
            return POLL_S
        return min(POLL_S, max(0.0, (due - self._clock.now_us()) / SECOND_US))
