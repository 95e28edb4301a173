"""`ShadowTasks`: BackgroundTasks as they are, and a count of what they lose, before anything is changed.

    @app.post("/orders")
    async def order(tasks: ShadowTasks) -> …:
        tasks.add_task(send_receipt, order_id)        # any function, as before

A row is written before the answer is sent and goes when the task has ended well; `holdfast shadow report` tells what
stayed. A database that is away costs the count and nothing else: the task runs as it would have.
"""

import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, Request
from starlette.background import BackgroundTask

from shared.kernel.ids import new_id
from shared.kernel.logs import get_logger
from shared.ledger.store_shadow import cast_shadows, fail_shadow, lift_shadow
from shared.runtime.resources import Resources, get_resources

PATH_LIMIT_CHARS = 200
log = get_logger(__name__)


class Shadows:
    def __init__(self, resources: Resources, background: BackgroundTasks, path: str) -> None:
        self._resources = resources
        self._background = background
        self._path = path[:PATH_LIMIT_CHARS]
        self._rows: list[tuple[str, str, str, str, int]] = []

    def add_task(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        shadow_id = new_id("shd")
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
        started = self._resources.database.clock.now_us()
        self._rows.append(
            (shadow_id, name[:PATH_LIMIT_CHARS], self._path, f"{socket.gethostname()}:{os.getpid()}", started)
        )
        self._background.add_task(self._run, shadow_id, BackgroundTask(function, *args, **kwargs))

    async def cast(self) -> None:
        if self._rows:
            await self._noted(lambda: cast_shadows(self._resources.database, self._rows))

    async def _run(self, shadow_id: str, task: BackgroundTask) -> None:
        try:
            await task()
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            await self._noted(lambda: fail_shadow(self._resources.database, shadow_id, words))
            raise
        await self._noted(lambda: lift_shadow(self._resources.database, shadow_id))

    async def _noted(self, write: Callable[[], Any]) -> None:
        try:
            await write()
        except Exception as error:  # it is only a count: the request and its task go on
            log.warning("shadow_not_noted", error=repr(error))


async def shadow_tasks(request: Request, background: BackgroundTasks) -> AsyncIterator[Shadows]:
    shadows = Shadows(get_resources(request), background, request.scope["path"])
    yield shadows
    await shadows.cast()


ShadowTasks = Annotated[Shadows, Depends(shadow_tasks, scope="function")]
