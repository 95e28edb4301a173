"""A bounded cache of rows by key, in front of a read that takes many keys at once.

A worker starts handlers by the hundred, and each needs one row: reads that wait for each other go out as one
statement, greedily, without a timer. A value is at most `ttl_s` old, counted from before its read began; `forget`
takes effect for every `get` that begins afterwards, also while an older read is still under way. Refuses to keep
what it did not find, and more than `room`.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from shared.db.failures import is_transient

V = TypeVar("V")
Read = Callable[[Sequence[str]], Awaitable[Mapping[str, V]]]
KEYS_AT_ONCE: Final = 200


class Lookup(Generic[V]):
    """`weigh` says how much of `room` a value takes (1 by default); `patience_s` outlasts the database's outages."""

    def __init__(
        self,
        read: Read[V],
        monotonic_s: Callable[[], float],
        *,
        ttl_s: float,
        room: int,
        weigh: Callable[[V], int] = lambda _: 1,
        patience_s: float = 0.0,
    ) -> None:
        self._read = read
        self._now_s = monotonic_s
        self._ttl_s = ttl_s
        self._room = room
        self._weigh = weigh
        self._patience_s = patience_s
        self._held: OrderedDict[str, tuple[float, V]] = OrderedDict()  # until, value; the least used first
        self._weight = 0
        self._waiting: dict[str, asyncio.Future[V | None]] = {}
        self._reading: dict[str, asyncio.Future[V | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V | None:
        """None when there is no such row. Raises what the read raised."""
        held = self._held.get(key)
        if held is not None:
            if held[0] > self._now_s():
                self._held.move_to_end(key)
                return held[1]
            self._drop(key)
        future = self._waiting.get(key) or self._reading.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._drain(), name="lookup")
        return await asyncio.shield(future)  # others wait for it too

    def forget(self, key: str) -> None:
        self._drop(key)
        self._reading.pop(key, None)

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _drain(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:KEYS_AT_ONCE]
            group = {key: self._waiting.pop(key) for key in keys}
            self._reading = dict(group)
            began_s = self._now_s()
            try:
                found = await self._persist(keys)
            except BaseException as error:
                for future in (*group.values(), *(self._waiting.values() if not isinstance(error, Exception) else ())):
                    _fail(future, error)
                if not isinstance(error, Exception):
                    self._waiting.clear()
                    raise
                continue
            finally:
                current, self._reading = self._reading, {}
            for key, future in group.items():
                value = found.get(key)
                if value is not None and current.get(key) is future:
                    self._keep(key, value, began_s + self._ttl_s)
                if not future.done():
                    future.set_result(value)

    async def _persist(self, keys: Sequence[str]) -> Mapping[str, V]:
        give_up_s = self._now_s() + self._patience_s
        delay_s = 0.05
        while True:
            try:
                return await self._read(keys)
            except Exception as error:
                if not is_transient(error) or self._now_s() + delay_s > give_up_s:
                    raise
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay_s = min(delay_s * 2, 1.0)

    def _keep(self, key: str, value: V, until_s: float) -> None:
        self._drop(key)
        weight = self._weigh(value)
        if weight > self._room:
            return
        self._held[key] = (until_s, value)
        self._weight += weight
        while self._weight > self._room:
            self._drop(next(iter(self._held)))

    def _drop(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._weight -= self._weigh(held[1])


def _fail(future: "asyncio.Future[V | None]", error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, Exception):
        future.set_exception(error)
        future.exception()  # its waiters may have gone; that is no defect to be warned of
    else:
        future.cancel()
