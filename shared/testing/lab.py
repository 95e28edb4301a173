"""A service with no purpose: commands that sleep, fail, kill their process or block its loop, for tests and benchmarks.

`taskiq worker shared.testing.lab:create_broker --receiver shared.transport.receiver:HoldfastReceiver`. Its queue is
`lab`; the relay serves it when HOLDFAST_QUEUES names it.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI
from taskiq import TaskiqDepends

from shared.contracts.command import Command, command_table
from shared.contracts.retry import Exponential, RetryPolicy, Schedule
from shared.kernel.settings import CoreSettings, load
from shared.runtime.resources import open_resources
from shared.runtime.worker import make_broker
from shared.transport.attempt import Attempt, get_attempt
from shared.transport.broker import HoldfastBroker

QUEUE = "lab"


class Noop(Command):
    task: ClassVar[str] = "lab.noop"
    queue: ClassVar[str] = QUEUE
    number: int = 0


class Sleep(Command):
    task: ClassVar[str] = "lab.sleep"
    queue: ClassVar[str] = QUEUE
    timeout_s: ClassVar[float] = 30.0
    seconds: float = 0.01


class Fail(Command):
    """Fails `times` times, then succeeds."""

    task: ClassVar[str] = "lab.fail"
    queue: ClassVar[str] = QUEUE
    retry: ClassVar[RetryPolicy] = Schedule(delays_s=(0.05, 0.05, 0.05))
    times: int = 1


class Kill(Command):
    """Poison: its process dies under it."""

    task: ClassVar[str] = "lab.kill"
    queue: ClassVar[str] = QUEUE
    retry: ClassVar[RetryPolicy] = Exponential(max_attempts=5)
    after_s: float = 0.05


class Wedge(Command):
    """Blocks the event loop for longer than anybody may."""

    task: ClassVar[str] = "lab.wedge"
    queue: ClassVar[str] = QUEUE
    seconds: float = 60.0


COMMANDS = command_table(Noop, Sleep, Fail, Kill, Wedge)


async def noop(command: Noop) -> None:
    """Nothing, quickly."""


async def sleep(command: Sleep) -> dict[str, float]:
    await asyncio.sleep(command.seconds)
    return {"slept_s": command.seconds}


async def fail(command: Fail, attempt: Annotated[Attempt, TaskiqDepends(get_attempt)]) -> None:
    if attempt.number <= command.times:
        raise RuntimeError(f"failing, attempt {attempt.number} of {command.times} failures")


async def kill(command: Kill) -> None:
    await asyncio.sleep(command.after_s)
    os.kill(os.getpid(), signal.SIGKILL)


async def wedge(command: Wedge) -> None:
    time.sleep(command.seconds)  # noqa: ASYNC251 - the fault that is tested


TASKS: dict[type[Command], Callable[..., Any]] = {Noop: noop, Sleep: sleep, Fail: fail, Kill: kill, Wedge: wedge}


def create_app() -> FastAPI:
    settings = load(CoreSettings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            yield

    return FastAPI(lifespan=lifespan)


def create_broker() -> HoldfastBroker:
    return make_broker(settings=load(CoreSettings), queue=QUEUE, tasks=TASKS, create_app=create_app)
