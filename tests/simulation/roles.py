"""The worker and the relay, put together from their real parts inside a simulated process."""

import asyncio
import contextlib
import random
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from unittest import mock

from shared.db import committer
from shared.kernel import ids
from shared.runtime import beat, incarnation, lifecycle, relay, rescuer, ticker
from shared.transport import attempt, control, pump, recorder, wake
from shared.transport import relay as queue_relay
from shared.transport.execution import Executor
from tests.simulation.database import SimDatabase
from tests.simulation.process import current_process
from tests.simulation.streams import SimRedis
from tests.simulation.work import COMMANDS, QUEUE, Tasks, Work

DRAIN_LIMIT_S = 1.0


class NoFolder:
    """A state directory whose files nobody reads."""

    def __truediv__(self, _):
        return self

    def touch(self):
        """Nothing is written."""

    def unlink(self, *, missing_ok):
        """Nothing is there."""


class SimBeat(beat.Beat):
    """The beat's own steps, as a task of the one loop there is."""

    def start(self):
        self._task = asyncio.get_running_loop().create_task(self._main_task())

    async def stop(self):
        self._task.cancel()

    async def _main_task(self):
        process = current_process.get()
        database = SimDatabase(process)
        while True:
            with contextlib.suppress(ConnectionError):
                if not await self._beat(database):
                    return
            await process.work(self._settings.beat_s)


class SimSlot:
    """The slot's file: who held it last. Its lock is the process itself."""

    is_taken = False

    def __init__(self, world, number):
        self._world = world
        self.number = number
        self.predecessor = world.slots.get(number)

    def occupy(self, name):
        self._world.slots[self.number] = name

    def vacate(self):
        self._world.slots[self.number] = None


class SimLife(incarnation.WorkerLife):
    async def take_place(self, slot):
        self._slot = slot
        if slot.predecessor is not None:
            await self._bury(slot.predecessor)


class FittingSchema:
    """The one schema there is."""

    async def problems(self):
        return []

    async def close(self):
        """Nothing is open."""


class SimRelay(relay.RelayProcess):
    def __init__(self, parts, stop):
        super().__init__(parts, stop)
        self._schema = FittingSchema()

    async def _cron(self):
        if current_process.get().world.calendar is None:
            await self._stop.wait()
        return await super()._cron()

    async def _listen(self):
        """Nudges come straight from the world: see `World.published`."""
        await self._stop.wait()
        return 0.0

    def nudge(self, word):
        self.hear(QUEUE, word)


def resources(process):
    world, redis = process.world, SimRedis(process)
    plan = world.plan
    settings = SimpleNamespace(
        lease_s=plan.lease_s, beat_s=plan.beat_s, queues=(QUEUE,), state_dir=NoFolder(), drain_limit_s=DRAIN_LIMIT_S
    )
    return SimpleNamespace(database=SimDatabase(process), redis=redis, settings=settings, waker=wake.Waker(redis))


async def work(process, number):
    """One worker process, from its slot to its end."""
    current_process.set(process)
    parts = resources(process)
    life = SimLife(parts, QUEUE, process.world.plan.capacity)
    try:
        await life.take_place(SimSlot(process.world, number))
    except ConnectionError:
        process.die()  # it exits; whoever takes the slot next tries again
        await process.awake()
    engine = pump.Pump(
        queue=QUEUE, database=parts.database, redis=parts.redis,
        executor=Executor(Tasks(), parts.database, parts.waker.wake, 900.0),
        life=life, capacity=process.world.plan.capacity, drain_limit_s=DRAIN_LIMIT_S, wake=parts.waker.wake,
    )  # fmt: skip
    await engine.run(process.stop)
    process.die()


async def serve_relay(process):
    current_process.set(process)
    running = SimRelay(resources(process), process.stop)
    process.world.relays[process] = running
    await running.run()
    process.die()


@asynccontextmanager
async def exclusive(database, name):
    """The queue's lock: free when its holder dies, and now and then it is held by two.

    It is the server's, of one session: while that still works on what its client has given up, nobody else has it.
    """
    process = database._process
    world = process.world
    await process.awake()
    holder = world.locks.get(name)
    if (holder is not None and holder.alive and holder is not process) or world.sessions[name]:
        yield None
        return
    world.locks[name] = process
    try:
        yield SimDatabase(process, name)
    finally:
        if world.locks.get(name) is process:
            del world.locks[name]


@asynccontextmanager
async def open_tx(database, *, cap_s=None, wake=None):
    tx = SimpleNamespace(now_us=database.clock.now_us(), touched=set())
    async with database.transaction() as connection:
        tx.fetch = connection.fetch
        yield tx
    for queue in tx.touched:
        wake(queue)


class Ids:
    """Ids that rise with the virtual clock and are the same in every replay."""

    def __init__(self, clock, seeded):
        self._clock = clock
        self._random = seeded
        self._count = 0

    def next(self):
        self._count += 1
        return (self._clock.now_us() // 1000 << 80) | (self._random.getrandbits(16) << 32) | self._count


class Silent:
    def __getattr__(self, _):
        return lambda *args, **values: None


@contextmanager
def simulated(world):
    """Put the simulated edges in the place of the real ones, in this process, for one run."""
    before = random.getstate()
    random.seed(world.seed)
    silent = Silent()
    with contextlib.ExitStack() as patches:
        for module in (committer, control, pump, recorder, relay, rescuer, incarnation, beat, lifecycle, wake, ticker):
            patches.enter_context(mock.patch.object(module, "log", silent))
        for module, name, stand_in in (
            (ids, "_sequence", Ids(world.clock, world.random)),
            (relay, "exclusive", exclusive),
            (queue_relay, "ALL", COMMANDS),
            (attempt, "open_tx", open_tx),
            (ticker, "open_tx", open_tx),
            (ticker, "ALL", COMMANDS),
            (Work, "schedule", (world.calendar.line,) if world.calendar else ()),
            (incarnation, "Beat", SimBeat),
            (incarnation, "ALL", COMMANDS),
            (rescuer, "ALL", COMMANDS),
        ):
            patches.enter_context(mock.patch.object(module, name, stand_in))
        try:
            yield
        finally:
            random.setstate(before)
