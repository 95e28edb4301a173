"""`DurableTasks`: FastAPI's BackgroundTasks, kept: the same `add_task`, durable before the answer.

    @app.post("/orders")
    async def order(tasks: DurableTasks) -> …:
        tasks.add_task(send_receipt, order_id, email=email)

A task that is added while a `Tx` is open commits with it or not at all. The others are enqueued when the route has
returned and before the answer is sent, in one transaction: an exception enqueues nothing, and a commit that fails
answers 500 or 503. It is an alias and no subclass: FastAPI hands the stock class to whoever annotates a subclass.
Refuses functions that are not durable, and more than TASKS_MOST of one request.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from shared.db.tx import Tx, current_tx, open_tx
from shared.kernel.errors import TooLarge, Unauthenticated
from shared.ledger.store_accept import NewJob, new_job
from shared.runtime.callers import caller_of
from shared.runtime.resources import Resources, get_resources
from shared.transport.broker import DEFAULT_TENANT
from shared.transport.durable import durable_of
from shared.transport.enqueue import enqueue_all

TASKS_MOST = 1_000


class Tasks:
    """What one request wants done later. `add_task` only collects, so it may be called from a `def` route's thread."""

    def __init__(self, resources: Resources, tenant: str) -> None:
        self._resources = resources
        self._tenant = tenant
        self._count = 0
        self._alone: list[NewJob] = []
        self._joined: dict[Tx, list[NewJob]] = {}

    def add_task(self, function: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> str:
        """Returns the job's id, which is nothing yet before the commit (and another's may stand for a unique one).

        Raises NotDurable, TypeError as the call itself would, ValidationError, TooLarge.
        """
        if self._count >= TASKS_MOST:
            raise TooLarge(f"one request may add {TASKS_MOST} tasks", limit=TASKS_MOST)
        command = durable_of(function).command_of(*args, **kwargs)
        tx = current_tx()
        now_us = self._resources.database.clock.now_us() if tx is None else tx.now_us
        job = new_job(command, tenant=self._tenant, now_us=now_us)
        self._count += 1
        if tx is None:
            self._alone.append(job)
            return job.id
        if tx not in self._joined:
            self._joined[tx] = []
            tx.before_commit(lambda: enqueue_all(tx, self._joined.pop(tx)))
        self._joined[tx].append(job)
        return job.id

    async def enqueue(self) -> None:
        """What was added outside of every Tx, in one of its own."""
        if self._alone:
            async with self._resources.tx() as tx:
                await enqueue_all(tx, self._alone)


async def durable_tasks(request: Request) -> AsyncIterator[Tasks]:
    tasks = Tasks(get_resources(request), tenant_of(request))
    yield tasks  # what the route raises comes out here: nothing is enqueued then
    await tasks.enqueue()


async def request_tx(request: Request) -> AsyncIterator[Tx]:
    """A transaction around the route, for those who want one: it commits before the answer is sent."""
    resources = get_resources(request)
    async with open_tx(resources.database, wake=resources.waker.wake) as tx:
        yield tx


def tenant_of(request: Request) -> str:
    """The caller's; of an app without callers the one default."""
    try:
        return caller_of(request).tenant
    except Unauthenticated:
        return DEFAULT_TENANT


DurableTasks = Annotated[Tasks, Depends(durable_tasks, scope="function")]
RequestTx = Annotated[Tx, Depends(request_tx, scope="function")]
