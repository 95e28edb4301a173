"""Making a service's broker: the one function behind every `services/<name>/worker.py`.

The broker runs the service's app lifespan in the worker (`taskiq_fastapi`), so handlers get the app's resources; the
process around the pump, with its slot, its incarnation and its wait for the schema, is made from those.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
import taskiq_fastapi
from fastapi import FastAPI

from shared.contracts.command import Command
from shared.contracts.commands import service_of
from shared.kernel import faultpoints, logs
from shared.kernel.settings import CoreSettings
from shared.ledger.store_served import serve_tasks
from shared.runtime import metrics
from shared.runtime.health import Standing, readiness
from shared.runtime.heartbeat import ReadyFile
from shared.runtime.incarnation import WorkerLife
from shared.runtime.resources import Resources
from shared.runtime.schema import SchemaWatch, owners_of, wait_for_schema
from shared.transport.broker import HoldfastBroker
from shared.transport.receiver import WorkerProcess

log = logs.get_logger(__name__)


def make_broker(
    *,
    settings: CoreSettings,
    queue: str,
    tasks: Mapping[type[Command], Callable[..., Any]],
    create_app: Callable[[], FastAPI],
    on_active: Callable[[FastAPI], Awaitable[None]] | None = None,
    standing: Callable[[FastAPI], Sequence[Standing]] | None = None,
) -> HoldfastBroker:
    """`on_active` runs in the process that got its place, before it claims anything; a standby does not run it.

    `standing` says how this process stands, for `/readyz` beside its metrics; it is called in a thread.
    """
    logs.configure(settings.log_level)
    faultpoints.arm(settings.fault_points)
    broker = HoldfastBroker(settings, queue, {command.task: command for command in tasks}).bind(tasks)
    taskiq_fastapi.init(broker, create_app)

    def process(capacity: int) -> WorkerProcess:
        app: FastAPI = broker.state.fastapi_app
        resources: Resources = app.state.resources
        broker.attach(resources.acceptor)
        life = WorkerLife(resources, queue, capacity)
        owners = owners_of(service_of(queue))
        shown = ReadyFile(settings.state_dir)

        async def ready(stop: asyncio.Event) -> bool:
            shown.show(False)  # a container that is started again finds what the one before it has left
            return await wait_for_schema(
                resources.database, stop, settings.state_dir, owners
            ) and await life.take_place(stop)

        watch = SchemaWatch(resources.database, owners)

        async def fit() -> bool:
            fits = not await watch.problems()
            shown.show(fits)
            return fits

        def stand() -> tuple[int, bytes]:
            status, document = readiness([Standing("place"), *(standing(app) if standing else ())])
            return status, orjson.dumps(document)

        async def show_metrics() -> None:
            metrics.serve(settings.metrics_port, stand)

        async def say_what_is_served() -> None:
            """For those who have not the commands' classes: nobody waits for it, the next start says it again."""
            try:
                database = resources.database
                await serve_tasks(database, broker.commands.values(), database.clock.now_us())
            except Exception as error:
                log.warning("tasks_unpublished", queue=queue, error=repr(error))

        actions: list[Callable[[], Awaitable[None]]] = [show_metrics, say_what_is_served]
        if on_active is not None:
            actions.append(lambda: on_active(app))
        return WorkerProcess(
            resources.database, resources.redis, resources.waker.wake, life, ready, capacity, fit, actions
        )

    broker.process_factory = process
    return broker
