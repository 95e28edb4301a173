"""`HoldfastReceiver`: what `taskiq worker … --receiver shared.transport.receiver:HoldfastReceiver` runs.

It replaces Taskiq's prefetching loop by the pump; Taskiq's command line, process manager, tasks, dependency graphs
and middlewares are used as they are.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from taskiq.receiver import Receiver

from shared.db.engine import Database
from shared.kernel.errors import Misconfigured
from shared.transport.broker import HoldfastBroker
from shared.transport.execution import Executor
from shared.transport.pump import Life, Pump
from shared.transport.wake import Wake


@dataclass
class WorkerProcess:
    """What the runtime puts around the pump: made when the app has started, see `shared.runtime.worker`."""

    database: Database
    redis: Any
    wake: Wake
    life: Life
    ready: Callable[[asyncio.Event], Awaitable[bool]]
    capacity: int
    fit: Callable[[], Awaitable[bool]]
    on_active: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


def settle_garbage() -> None:
    """Take what start-up made out of the collector's sight, and let it look at young objects less often.

    A full pass over the imported modules took 0.1 s and 14% of a busy worker's CPU (measured on deliveries).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class HoldfastReceiver(Receiver):
    async def listen(self, finish_event: asyncio.Event) -> None:
        """Start the app, wait for a place among the workers, pump until told to stop, drain."""
        broker = self.broker
        if not isinstance(broker, HoldfastBroker) or broker.process_factory is None:
            raise Misconfigured("HoldfastReceiver needs a broker made by shared.runtime.worker:make_broker")
        await broker.startup()
        process: WorkerProcess = broker.process_factory(self._slots())
        if not await process.ready(finish_event):
            return
        for action in process.on_active:
            await action()
        settle_garbage()
        settings = broker.settings
        executor = Executor(broker, process.database, process.wake, settings.unknown_task_patience_s)
        pump = Pump(
            queue=broker.queue,
            database=process.database,
            redis=process.redis,
            executor=executor,
            life=process.life,
            capacity=process.capacity,
            drain_limit_s=settings.drain_limit_s,
            wake=process.wake,
            fit=process.fit,
        )
        await pump.run(finish_event)
        if self.on_exit is not None:
            self.on_exit(self)

    def _slots(self) -> int:
        """`--max-async-tasks` of the command line; Taskiq keeps it in a semaphore."""
        return self.sem._value if self.sem is not None else 100  # noqa: SLF001 - there is no other way to it
