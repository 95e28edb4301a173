"""The whole engine in one event loop: the real relay process, the real pump and executor, on real servers.

Only the worker's life is a small one of the tests': the real one beats from a thread that may end its process.
`engine.handle(Command)` says what a command does in this test; jobs are awaited, never slept for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import taskiq_fastapi
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from taskiq import AsyncTaskiqTask

from shared.contracts.command import Command, command_table
from shared.contracts.retry import ONCE, RetryPolicy, Schedule
from shared.db.engine import Database
from shared.kernel.ids import new_id
from shared.kernel.settings import CoreSettings
from shared.ledger import store_incarnation
from shared.ledger.audit import audit
from shared.ledger.store_claim import own_running
from shared.ledger.store_dead import cancel_job
from shared.runtime.relay import RelayProcess
from shared.runtime.resources import Resources, open_resources
from shared.transport.broker import HoldfastBroker
from shared.transport.enqueue import enqueue
from shared.transport.execution import Executor
from shared.transport.names import stream, wake_channel
from shared.transport.pump import Pump

QUEUE = "lab"
WAIT_S = 20.0  # of anything; an idle machine needs milliseconds
RECONCILE_S = 60.0  # here: no test may pass because the relay looks by itself
TOLD_S = 2.5  # what is told reaches the relay within milliseconds, on an idle machine


class Do(Command):
    """Runs once."""

    task: ClassVar[str] = "lab.do"
    queue: ClassVar[str] = QUEUE
    timeout_s: ClassVar[float] = 10.0
    retry: ClassVar[RetryPolicy] = ONCE
    number: int = 0
    words: str = ""


class Again(Do):
    """Runs four times at most."""

    task: ClassVar[str] = "lab.again"
    retry: ClassVar[RetryPolicy] = Schedule(delays_s=(0.2, 0.4, 0.2))


class Brief(Do):
    """Has a tenth of a second."""

    task: ClassVar[str] = "lab.brief"
    timeout_s: ClassVar[float] = 0.1


COMMANDS = command_table(Do, Again, Brief)
Handler = Callable[..., Awaitable[Any]]


class SmallLife:
    """Born in the ledger, and buried at its end; beats are not needed for tests that are over before a lease is."""

    def __init__(self, database: Database, capacity: int, queue: str = QUEUE) -> None:
        self._database = database
        self._queue = queue
        self._capacity = capacity
        self.incarnation = ""
        self._on_running: Any = None

    async def beat(self) -> None:
        """What the real one's beat does for the jobs that run here."""
        self._on_running(await own_running(self._database, self.incarnation))

    async def begin(self, *, on_lost: Any, on_running: Any) -> str:
        self._on_running = on_running
        self.incarnation = new_id("inc")
        now_us = self._database.clock.now_us()
        await store_incarnation.born(
            self._database, self.incarnation, queue=self._queue, role="worker", host="h", pid=1,
            capacity=self._capacity, now_us=now_us,
        )  # fmt: skip
        return self.incarnation

    async def end(self, reason: str = "ended") -> None:
        now_us = self._database.clock.now_us()
        await store_incarnation.bury(self._database, self.incarnation, reason, now_us)


@dataclass
class Engine:
    resources: Resources
    broker: HoldfastBroker
    capacity: int = 20
    patience_s: float = 900.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    life: SmallLife | None = None

    @property
    def database(self) -> Database:
        return self.resources.database

    def handle(self, command: type[Command], handler: Handler) -> None:
        self.broker.bind({command: handler})

    async def start(self, *, relay: bool = True, worker: bool = True) -> None:
        if relay:
            self.running.append(asyncio.create_task(RelayProcess(self.resources, self.stop).run()))
        if worker:
            self.life = SmallLife(self.database, self.capacity)
            pump = Pump(
                queue=QUEUE, database=self.database, redis=self.resources.redis, executor=self.executor(),
                life=self.life, capacity=self.capacity, drain_limit_s=1.0,
                wake=self.resources.waker.wake,
            )  # fmt: skip
            self.running.append(asyncio.create_task(pump.run(self.stop)))

    def executor(self) -> Executor:
        return Executor(self.broker, self.database, self.resources.waker.wake, self.patience_s)

    async def kiq(self, command: Command) -> AsyncTaskiqTask[Any]:
        task = self.broker.find_task(command.task)
        assert task is not None
        return await task.kiq(command)

    async def enqueue(self, *commands: Command, **options: Any) -> list[str]:
        async with self.resources.tx() as tx:
            return [await enqueue(tx, command, tenant="acme", **options) for command in commands]

    async def cancel(self, job_id: str, *, tell: bool = True) -> str | None:
        """As the API does; returns the state afterwards."""
        async with self.resources.tx() as tx:
            found = await cancel_job(tx, "acme", job_id, tx.now_us)
            if tell and found is not None:
                tx.after_commit(lambda: self.resources.waker.cancel(QUEUE, job_id))
        return None if found is None else found.state

    async def ended(self, *ids: str) -> list[dict[str, Any]]:
        """The jobs' rows, once all of them have ended."""
        wanted = "SELECT * FROM job WHERE state IN ('completed', 'dead', 'cancelled')"
        await self.until(lambda rows: {row["id"] for row in rows} >= set(ids), wanted)
        found = {row["id"]: row for row in await self.rows("SELECT * FROM job")}
        return [found[job_id] for job_id in ids]

    async def run(self, command: Command) -> dict[str, Any]:
        """Enqueue one, start the engine if it is not, and wait for its end."""
        if not self.running:
            await self.start()
        return (await self.ended(*await self.enqueue(command)))[0]

    async def attempts(self, job_id: str) -> list[dict[str, Any]]:
        return await self.rows("SELECT * FROM job_attempt WHERE job_id = :id ORDER BY fence", id=job_id)

    async def until(self, holds: Callable[[list[dict[str, Any]]], bool], query: str, **values: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds(await self.rows(query, **values)):  # noqa: ASYNC110 - nothing there has an event to wait for
                await asyncio.sleep(0.01)

    async def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.reader.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]

    async def change(self, statement: str, **values: Any) -> None:
        """Behind everybody's back; then the relay is told to look again at everything."""
        async with self.database.begin() as connection:
            await connection.execute(text(statement), values)
        self.resources.waker.changed(QUEUE)

    async def close(self) -> None:
        self.stop.set()
        # Whoever blocks on Redis for a second looks up at once.
        await self.resources.redis.xadd(stream(QUEUE), {"end": "1"})
        await self.resources.redis.publish(wake_channel(QUEUE), b"work")
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*self.running)
        self.running.clear()
        report = await audit(self.database)
        assert report.ok, report.report()


@asynccontextmanager
async def open_engine(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Engine]:
    settings = CoreSettings(
        database_url=database_url, redis_url=SecretStr(redis_url), state_dir=folder, queues=(QUEUE,), lease_s=120.0,
    )  # fmt: skip
    app = FastAPI()
    async with open_resources(settings) as resources:
        app.state.resources = resources
        broker = HoldfastBroker(settings, QUEUE, COMMANDS)
        broker.attach(resources.acceptor)
        taskiq_fastapi.populate_dependency_context(broker, app)
        engine = Engine(resources, broker)
        try:
            yield engine
        finally:
            await engine.close()
