"""One endpoint that hangs with hundreds of deliveries due: the others' deliveries do not wait for it.

The real relay and the real pump with a worker's slots, in this process, and a receiver that holds its requests open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from shared.contracts.commands.webhooks import DeliverWebhook
from shared.runtime.relay import RelayProcess
from shared.transport.names import stream, wake_channel
from shared.transport.pump import Pump
from tests.integration.engine.engine import SmallLife
from tests.integration.webhooks.office import Letter, Office
from tests.stalls import within

QUEUE = "webhooks"
SLOTS = 200  # of a worker as it is deployed
HANGING = 300
TIMEOUT_S = 25.0  # of the endpoint that hangs
WAIT_S = 15.0


@asynccontextmanager
async def at_work(office: Office) -> AsyncIterator[None]:
    """A relay and a worker, until the block ends."""
    stop = asyncio.Event()
    pump = Pump(
        queue=QUEUE, database=office.database, redis=office.resources.redis, executor=office.executor,
        life=SmallLife(office.database, SLOTS, QUEUE), capacity=SLOTS, drain_limit_s=1.0,
        wake=office.resources.waker.wake,
    )  # fmt: skip
    running = [asyncio.create_task(RelayProcess(office.resources, stop).run()), asyncio.create_task(pump.run(stop))]
    try:
        yield
    finally:
        stop.set()
        await office.resources.redis.xadd(stream(QUEUE), {"end": "1"})  # whoever blocks there looks up
        await office.resources.redis.publish(wake_channel(QUEUE), b"work")
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*running)


class Doors:
    """`/hook` answers at once, `/slow` when it is let go."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self.most = 0
        self.letters: list[Letter] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/slow":
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            try:
                await self.open.wait()
            finally:
                self.waiting -= 1
        else:
            self.letters.append(Letter(request.path, {}, body))
        return web.Response(status=204)

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110 - the receiver's own state, polled
                await asyncio.sleep(0.01)


async def test_a_hanging_endpoint_does_not_delay_the_others(office: Office) -> None:
    doors = Doors()
    office.receiver.take = doors.handle
    slow = await office.endpoint("slow.*", url=office.receiver.url("/slow"), timeout_s=TIMEOUT_S)
    await office.endpoint("quick.*")
    for number in range(HANGING):
        await office.event("slow.one", {"n": number})
    limit = DeliverWebhook.lanes.limit
    assert limit is not None
    async with at_work(office):
        await doors.until(lambda: doors.waiting >= min(limit, SLOTS // 2))
        async with within(TIMEOUT_S / 4):
            for number in range(20):
                await office.event("quick.one", {"n": number})
            await doors.until(lambda: len(doors.letters) == 20)
        ended = await office.rows("SELECT count(*) AS n FROM job_attempt AS a JOIN job AS j ON j.id = a.job_id "
                                  "WHERE j.lane = :lane", lane=slow["id"])  # fmt: skip
        assert ended[0]["n"] == 0, "none of them has ended, so nobody waited for a timeout"
        doors.open.set()
        waiting = "SELECT count(*) AS n FROM job WHERE state <> 'completed' AND queue = 'webhooks'"
        async with asyncio.timeout(60):
            while (await office.rows(waiting))[0]["n"]:  # noqa: ASYNC110 - rows, polled
                await asyncio.sleep(0.05)
    assert doors.most == limit
