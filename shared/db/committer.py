"""Group commit: everything that waits becomes durable in one transaction, then the next group goes.

Greedy: a flush starts when the previous one ends; there is no timer, so a lone item waits for nobody. Bounded: past
`max_waiting` a submitter waits for room. A group that fails on its data is written item by item, so that only the
item at fault fails. A failure of the database itself is tried again with backoff until `patience_s` has passed; the
flush must therefore be idempotent.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.db.failures import is_transient
from shared.kernel.logs import get_logger

T = TypeVar("T")
R = TypeVar("R")
Flush = Callable[[Sequence[T]], Awaitable[Sequence[R]]]
log = get_logger(__name__)


class Committer(Generic[T, R]):
    """`flush` takes items and returns one outcome for each, in order, after its transaction has committed."""

    def __init__(
        self, name: str, flush: Flush[T, R], *, max_batch: int = 500, max_waiting: int = 10_000, patience_s: float = 10
    ) -> None:
        self._name = name
        self._flush = flush
        self._max_batch = max_batch
        self._patience_s = patience_s
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._room = asyncio.Semaphore(max_waiting)
        self._writing: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """Return the item's outcome once it is durable; raise what its row alone raised.

        Cancelling the wait does not take the item back: it is committed with its group.
        """
        async with self._room:
            future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            self._waiting.append((item, future))
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._drain(), name=f"committer-{self._name}")
            return await future

    async def settle(self) -> None:
        """Wait until nothing waits any more."""
        while self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._writing

    def holds(self, wanted: Callable[[T], bool]) -> bool:
        """Whether such an item waits or is being written."""
        return any(wanted(item) for item, _ in (*self._writing, *self._waiting))

    @property
    def items(self) -> list[T]:
        """What waits or is being written."""
        return [item for item, _ in (*self._writing, *self._waiting)]

    async def _drain(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            self._writing = group
            try:
                await self._commit(group)
            except BaseException as error:
                # Cancelled, or a defect in the flush: whoever waits must hear of it.
                for _, future in group:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                raise
            finally:
                self._writing = []

    async def _commit(self, group: list[tuple[T, "asyncio.Future[R]"]]) -> None:
        try:
            outcomes = await self._persist([item for item, _ in group])
        except Exception as error:
            if len(group) == 1 or is_transient(error):
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                return
            log.warning("group_commit_split", committer=self._name, size=len(group), error=repr(error))
            for single in group:
                await self._commit([single])
            return
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)

    async def _persist(self, items: Sequence[T]) -> Sequence[R]:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience_s
        delay_s = 0.05
        while True:
            try:
                return await self._flush(items)
            except Exception as error:
                if not is_transient(error) or loop.time() + delay_s > give_up_at:
                    raise
                log.warning("group_commit_retry", committer=self._name, size=len(items), error=repr(error))
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            delay_s = min(delay_s * 2, 2.0)
