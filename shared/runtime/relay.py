"""`python -m shared.runtime.relay`: relays of all queues, reconcilers, rescuer and ticker, in one process.

Any number may run; each queue's lock makes one of them active, the others stand by and take over within half a second.
The ticker serves the schedules of the queues that are active here.
"""

import asyncio
import contextlib
import signal
import sys
from functools import partial

import uvloop
from redis.asyncio import Redis

from shared.contracts.commands import QUEUES
from shared.db.locks import exclusive
from shared.db.sql import Connection
from shared.kernel import faultpoints, logs
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings, load
from shared.ledger.schema import LEDGER
from shared.runtime import metrics
from shared.runtime.heartbeat import ReadyFile, touch
from shared.runtime.lifecycle import pause, run_forever
from shared.runtime.rescuer import Rescuer
from shared.runtime.resources import Resources, connect_redis, open_resources
from shared.runtime.schema import SchemaWatch, wait_for_schema
from shared.runtime.ticker import Ticker
from shared.transport.names import wake_channel
from shared.transport.reconcile import reconcile_window
from shared.transport.relay import QueueRelay
from shared.transport.telemetry import REDISPATCHED, RESCUES, STRAYS
from shared.transport.wake import CONFIG, DEATH, FREED

RECONCILE_S = 5.0
STANDBY_S = 0.5
RESET_GAP_S = 0.1  # between two readings of everything, when services change lanes all the time
ALIVE_S = 3.0  # between two signs of life
LOOK_S = 1.0  # at the beats of others: more often than they beat, so that a silence is measured closely
log = logs.get_logger(__name__)


class RelayProcess:
    def __init__(self, resources: Resources, stop: asyncio.Event) -> None:
        self._resources = resources
        self._stop = stop
        self._ready = ReadyFile(resources.settings.state_dir)
        self._rescuer = Rescuer(resources)
        self._ticker = Ticker(resources)
        self._schema = SchemaWatch(resources.database, [LEDGER])
        self._queues = resources.settings.queues or QUEUES
        self._nudges = {queue: asyncio.Event() for queue in self._queues}
        self._urgent = {queue: asyncio.Event() for queue in self._queues}
        self._relays: dict[str, QueueRelay] = {}
        self._deaths: set[str] = set()
        self._changes: set[str] = set()
        self._look = asyncio.Event()  # at who lives: there may be more slots
        self._news: set[str] = set()
        self._freed: set[str] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_forever("heartbeat", self._show_life, self._stop))
            group.create_task(run_forever("rescuer", self._rescue, self._stop, nudge=self._look))
            group.create_task(run_forever("wake", self._listen, self._stop))
            group.create_task(run_forever("cron", self._cron, self._stop))
            for queue in self._queues:
                group.create_task(run_forever(f"relay-{queue}", partial(self._hold, queue), self._stop))
        await self._schema.close()
        with contextlib.suppress(Exception):
            await self._rescuer.end()

    async def _show_life(self) -> float:
        """By itself: whatever asks the database waits for it, and an outage is no reason to be started again."""
        touch(self._resources.settings.state_dir)
        return ALIVE_S

    async def _rescue(self) -> float:
        problems = await self._schema.problems()
        self._ready.show(not problems)
        if problems:
            return LOOK_S
        rescued = await self._rescuer.run_once()
        for reason, count in rescued.reasons.items():
            RESCUES.labels(reason=reason).inc(count)
            log.warning("rescued", reason=reason, jobs=count, queues=sorted(rescued.queues))
        for queue, relay in self._relays.items():
            relay.window.slots = self._rescuer.capacity.get(queue, 0)
        for queue in rescued.queues & self._nudges.keys():
            self.hear(queue, DEATH)
        return min(LOOK_S, self._resources.settings.beat_s) if not rescued.reasons else 0.1

    def hear(self, queue: str, word: bytes) -> None:
        """A nudge: of work, or of what cannot wait until a full window has drained."""
        if word == FREED:
            self._freed.add(queue)
            if not self._waits_for_an_end(queue):
                return  # or else each end of a job in a lane would cost a pass
        else:
            self._news.add(queue)
        if word == CONFIG:
            self._look.set()
        if word in (DEATH, CONFIG):
            (self._deaths if word == DEATH else self._changes).add(queue)
            self._urgent[queue].set()
        self._nudges[queue].set()

    def _waits_for_an_end(self, queue: str) -> bool:
        relay = self._relays.get(queue)
        return relay is not None and relay.waits_for_an_end

    async def _cron(self) -> float:
        if await self._schema.problems():
            return LOOK_S
        return await self._ticker.run_once(self._relays.keys())

    async def _hold(self, queue: str) -> float:
        """Stand by for the queue's lock; while it is held, relay until a failure or a foreign schema gives it up."""
        if await self._schema.problems():
            return LOOK_S
        async with exclusive(self._resources.database, f"relay-{queue}") as connection:
            if connection is None:
                return STANDBY_S
            relay = QueueRelay(queue, self._resources.redis, self._resources.database.clock)
            relay.window.slots = self._rescuer.capacity.get(queue, 0)
            self._relays[queue] = relay
            log.info("relay_active", queue=queue)
            try:
                await self._relay(relay, connection)
            finally:
                self._relays.pop(queue, None)
        return 0.0

    async def _relay(self, relay: QueueRelay, connection: Connection) -> None:
        clock = self._resources.database.clock
        nudge, urgent = self._nudges[relay.queue], self._urgent[relay.queue]
        reconciled_s = reset_s = float("-inf")
        while not self._stop.is_set() and not await self._schema.problems():
            nudge.clear()
            urgent.clear()
            self._freed.discard(relay.queue)
            if relay.queue in self._news:
                self._news.discard(relay.queue)
                relay.nudged()
            if relay.queue in self._deaths or clock.monotonic_s() - reconciled_s >= RECONCILE_S:
                self._deaths.discard(relay.queue)
                self._changes.discard(relay.queue)
                await self._reconcile(relay, connection)
                reconciled_s = clock.monotonic_s()
            elif relay.queue in self._changes and clock.monotonic_s() - reset_s >= RESET_GAP_S:
                self._changes.discard(relay.queue)
                await relay.reset(connection)
                reset_s = clock.monotonic_s()
            done = await relay.run_once(connection)
            if done.forgot:
                log.warning("redis_forgot", queue=relay.queue)
                reconciled_s = float("-inf")
            if not done.full and relay.queue in self._freed and relay.waits_for_an_end:
                continue  # said before the pass knew that it matters
            wait_s = min(done.wait_s, RESET_GAP_S) if relay.queue in self._changes else done.wait_s
            if wait_s > 0:
                # A full window is looked at again soon; nudges about what waits behind it change nothing.
                await pause(wait_s, self._stop, urgent if done.full else nudge)

    async def _reconcile(self, relay: QueueRelay, connection: Connection) -> None:
        await relay.stamp()
        clock = self._resources.database.clock
        result = await reconcile_window(connection, self._resources.redis, relay.queue, clock, settle_us=0)
        relay.returned(result.returned)
        await relay.reset(connection)
        if result.redispatched or result.strays:
            REDISPATCHED.labels(queue=relay.queue).inc(result.redispatched)
            STRAYS.labels(queue=relay.queue).inc(result.strays)
            log.warning("reconciled", queue=relay.queue, redispatched=result.redispatched, strays=result.strays)

    async def _listen(self) -> float:
        """Turn publishes into nudges; a connection of its own, because a subscription occupies one."""
        redis: Redis = connect_redis(self._resources.settings, connections=1)
        channels = {wake_channel(queue).encode(): queue for queue in self._queues}
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(*channels)
                while not self._stop.is_set():
                    message = await subscription.get_message(timeout=1.0)
                    if message is None:
                        continue
                    self.hear(channels[message["channel"]], message["data"])
        finally:
            await redis.aclose()
            await redis.connection_pool.disconnect()
        return 0.0


async def serve(settings: CoreSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    metrics.serve(settings.metrics_port)
    ReadyFile(settings.state_dir).show(False)  # a container that is started again finds what the one before has left
    async with open_resources(settings) as resources:
        if await wait_for_schema(resources.database, stop, settings.state_dir):
            await RelayProcess(resources, stop).run()


def main() -> int:
    try:
        settings = load(CoreSettings)
        logs.configure(settings.log_level)
        faultpoints.arm(settings.fault_points)
        uvloop.run(serve(settings))
    except Misconfigured as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
