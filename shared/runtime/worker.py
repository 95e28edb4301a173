"""Making a service's broker: the one function behind every `services/<name>/worker.py`.

The broker runs the service's app lifespan in the worker (`taskiq_fastapi`), so handlers get the app's resources; the
process around the pump, with its slot, its incarnation and its wait for the schema, is made from those.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import taskiq_fastapi
from fastapi import FastAPI

from shared.contracts.command import Command
from shared.kernel import faultpoints, logs
from shared.kernel.settings import CoreSettings
from shared.runtime import metrics
from shared.runtime.incarnation import WorkerLife
from shared.runtime.resources import Resources
from shared.runtime.schema import SchemaWatch, owners_of, wait_for_schema
from shared.transport.broker import HoldfastBroker
from shared.transport.receiver import WorkerProcess


def make_broker(
    *,
    settings: CoreSettings,
    queue: str,
    tasks: Mapping[type[Command], Callable[..., Any]],
    create_app: Callable[[], FastAPI],
    on_active: Callable[[FastAPI], Awaitable[None]] | None = None,
) -> HoldfastBroker:
    """`on_active` runs in the process that got its place, before it claims anything; a standby does not run it."""
    logs.configure(settings.log_level)
    faultpoints.arm(settings.fault_points)
    broker = HoldfastBroker(settings, queue, {command.task: command for command in tasks}).bind(tasks)
    taskiq_fastapi.init(broker, create_app)

    def process(capacity: int) -> WorkerProcess:
        app: FastAPI = broker.state.fastapi_app
        resources: Resources = app.state.resources
        broker.attach(resources.acceptor)
        life = WorkerLife(resources, queue, capacity)
        owners = owners_of(queue)

        async def ready(stop: asyncio.Event) -> bool:
            return await wait_for_schema(
                resources.database, stop, settings.state_dir, owners
            ) and await life.take_place(stop)

        watch = SchemaWatch(resources.database, owners)

        async def fit() -> bool:
            return not await watch.problems()

        async def show_metrics() -> None:
            metrics.serve(settings.metrics_port)

        actions: list[Callable[[], Awaitable[None]]] = [show_metrics]
        if on_active is not None:
            actions.append(lambda: on_active(app))
        return WorkerProcess(
            resources.database, resources.redis, resources.waker.wake, life, ready, capacity, fit, actions
        )

    broker.process_factory = process
    return broker
