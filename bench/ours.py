"""Holdfast as a contestant: the real relay and one real worker process, both started cold on jobs that wait."""

import time
from contextlib import AsyncExitStack, suppress

from sqlalchemy import text

from bench.commits import committed_us, settle
from bench.contestant import Contestant, Drain
from bench.cpu import Meter
from bench.depth import HOUR_US, Bulk
from bench.stage import DURABILITY, Room, Stage, until
from shared.db.tx import open_tx
from shared.ledger.store_accept import new_job
from shared.runtime.resources import Resources
from shared.testing.lab import QUEUE, Noop
from shared.transport.enqueue import Accepted, enqueue_all

BROKER = "shared.testing.lab:create_broker"
SLOTS = 200
BULK = 500
COMPLETED = "job WHERE state = 'completed'"
_ENDED = text("SELECT count(*) FROM (SELECT 1 FROM job_attempt WHERE started_at >= :since LIMIT :many) AS ended")
_FIRST = text("SELECT min(started_at) FROM job_attempt WHERE started_at >= :since")


class Ours(Contestant):
    name = "Holdfast"
    durability = DURABILITY["postgres"]

    def __init__(self, stage: Stage, workers: int = 1) -> None:
        super().__init__(stage)
        self.workers = workers
        self._stack = AsyncExitStack()
        self.room: Room
        self.resources: Resources
        self.bulk: Bulk

    async def open(self) -> None:
        self.room, self.resources = await self._stack.enter_async_context(self.stage.furnished("postgres"))
        self.bulk = Bulk(self.room.url)
        self._stack.push_async_callback(self.bulk.release)

    async def close(self) -> None:
        await self._stack.aclose()

    async def empty(self) -> None:
        await self.bulk.clear()

    async def enqueue(self, one: int, bulk: int) -> dict[str, float | None]:
        """One: group commit as a route does it, alone, so a commit each. Bulk: `BULK` in a transaction."""
        database, tenant = self.resources.database, "bench"
        began = time.perf_counter()
        for n in range(one):
            job = new_job(Noop(number=n), tenant=tenant, now_us=database.clock.now_us())
            await self.resources.acceptor.submit(Accepted([job]))
        between = time.perf_counter()
        for _ in range(bulk // BULK):
            async with open_tx(database) as tx:
                await enqueue_all(tx, [new_job(Noop(), tenant=tenant, now_us=tx.now_us) for _ in range(BULK)])
        return {"one": one / (between - began), "bulk": bulk / (time.perf_counter() - between)}

    async def fill(self, count: int, **shape: int) -> None:
        await self.bulk.add(count, time.time_ns() // 1000 - HOUR_US, **shape)

    async def bury(self, count: int) -> None:
        await self.bulk.bury(count, time.time_ns() // 1000 - 2 * HOUR_US)

    async def drain(self, many: int, limit_s: float) -> Drain:
        await settle(self.room.url)
        await self.stage.flush()
        since_us = self.resources.database.clock.now_us()
        self.room.relay(QUEUE)
        for number in range(self.workers):
            self.room.worker(BROKER, SLOTS, number=number, of=self.workers)
        try:
            await until(lambda: self._ended(since_us, 1), "Holdfast begins", 60, 0.01)
            meter = Meter(self.room.groups())
            with suppress(TimeoutError):
                await until(lambda: self._all_ended(since_us, many), "Holdfast ends", limit_s, 0.1)
            ended = await self._ended(since_us, many)
            cpu_us = meter.per_job_us(await self._ended(since_us, 1_000_000))
            at_us = await committed_us(self.room.url, COMPLETED, since_us, many)
        finally:
            self.room.leave()
        if ended >= many > len(at_us):
            raise RuntimeError(f"{ended} attempts ended, {len(at_us)} of {many} jobs completed")
        async with self.resources.database.reader.connect() as connection:
            first_us = (await connection.execute(_FIRST, {"since": since_us})).scalar_one()
        return Drain(many, len(at_us), (at_us[-1] - first_us) / 1e6, cpu_us)

    async def _all_ended(self, since_us: int, many: int) -> bool:
        return await self._ended(since_us, many) >= many

    async def _ended(self, since_us: int, many: int) -> int:
        async with self.resources.database.reader.connect() as connection:
            return int((await connection.execute(_ENDED, {"since": since_us, "many": many})).scalar_one())
