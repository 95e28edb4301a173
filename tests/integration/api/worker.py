"""A real relay and a real pump on the queue `api`, beside an app: only what an email does is the test's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import taskiq_fastapi
from fastapi import FastAPI

from services.api.tasks import TASKS
from shared.contracts.command import Command
from shared.kernel.settings import CoreSettings
from shared.runtime.relay import RelayProcess
from shared.runtime.resources import Resources
from shared.transport.broker import HoldfastBroker
from shared.transport.execution import Executor
from shared.transport.names import stream, wake_channel
from shared.transport.pump import Pump
from tests.integration.engine.engine import SmallLife

Handlers = dict[type[Command], Callable[..., Awaitable[Any]]]


@asynccontextmanager
async def working(settings: CoreSettings, app: FastAPI, handlers: Handlers) -> AsyncIterator[None]:
    """While it is open, jobs of the queue run: with `handlers` where they are given, with the service's otherwise."""
    resources: Resources = app.state.resources
    chosen = {**TASKS, **handlers}
    mine = settings.model_copy(update={"queues": ("api",), "lease_s": 120.0})
    broker = HoldfastBroker(mine, "api", {command.task: command for command in chosen}).bind(chosen)
    broker.attach(resources.acceptor)
    taskiq_fastapi.populate_dependency_context(broker, app)
    stop = asyncio.Event()
    relay = RelayProcess(
        Resources(mine, resources.database, resources.redis, resources.waker, resources.acceptor), stop
    )
    pump = Pump(
        queue="api", database=resources.database, redis=resources.redis,
        executor=Executor(broker, resources.database, resources.waker.wake, 900.0),
        life=SmallLife(resources.database, 10), capacity=10, drain_limit_s=1.0, wake=resources.waker.wake,
    )  # fmt: skip
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(pump.run(stop))]
    try:
        yield
    finally:
        stop.set()
        await resources.redis.xadd(stream("api"), {"end": "1"})
        await resources.redis.publish(wake_channel("api"), b"work")
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
