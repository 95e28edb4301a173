"""The paced writers of one worker process: what handlers report and write reaches the ledger in groups, in order.

One transaction writes a group, and at most ten go in a second, however many jobs there are; how often one job is in it
is the buffer's pace. What is left when an attempt ends is written with its end (see `store_record`). Nothing here can
fail a handler: a database that does not answer is tried again with what is kept by then, which may have arrived. What
the fence refuses is dropped: another attempt counts by now. A job that never reports or writes costs nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from shared.db.engine import Database
from shared.kernel.logs import get_logger
from shared.ledger.output import Chunk, Outflow
from shared.ledger.progress import Key, Report, Throttle
from shared.ledger.store_output import write_output
from shared.ledger.store_progress import write_progress

FLUSH_S = 0.1  # between two groups
FAILED_S = 1.0
SETTLE_S = 1.0
Put = TypeVar("Put")
Put_contra = TypeVar("Put_contra", contravariant=True)
Due = TypeVar("Due")
Rest = TypeVar("Rest")
Rest_co = TypeVar("Rest_co", covariant=True)
log = get_logger(__name__)


class Buffer(Protocol[Put_contra, Due, Rest_co]):
    """What waits, of every attempt of a process; it keeps what is due until it is told that it was written."""

    def put(self, key: Key, item: Put_contra, /) -> None: ...
    def due(self, now_s: float) -> Sequence[tuple[Key, Due]]: ...
    def written(self, key: Key, items: Due, /) -> None: ...
    def rest(self, key: Key) -> Rest_co: ...
    def forget(self, key: Key) -> Rest_co: ...
    def next_s(self) -> float | None: ...


class PacedWriter(Generic[Put, Due, Rest]):
    def __init__(
        self,
        database: Database,
        buffer: Buffer[Put, Due, Rest],
        write: Callable[[Database, Sequence[tuple[Key, Due]]], Awaitable[set[tuple[str, int]]]],
        event: str,
    ) -> None:
        """`write` answers the (id, fence) of those that the fence let in; `event` is logged when it raises."""
        self._database = database
        self._buffer = buffer
        self._write = write
        self._event = event
        self._task: asyncio.Task[None] | None = None
        self._writing: set[Key] = set()
        self._written = asyncio.Event()

    def put(self, key: Key, item: Put) -> None:
        """Returns at once; to be called on the loop that the attempt runs on."""
        self._buffer.put(key, item)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="paced writer")

    def unwritten(self, key: Key) -> Rest:
        """What of this attempt is not known to be in the ledger; some of it may be on its way."""
        return self._buffer.rest(key)

    async def settle(self, key: Key) -> None:
        """Let a write of this attempt that is under way end: its end must not meet it in the database."""
        while key in self._writing:
            try:
                await asyncio.wait_for(self._written.wait(), SETTLE_S)
            except TimeoutError:
                return

    def forget(self, key: Key) -> Rest:
        """The attempt has ended: what of it is still to be written."""
        return self._buffer.forget(key)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._buffer.next_s() is not None:
            group = self._buffer.due(loop.time())
            pause_s = FLUSH_S if await self._flush(group) else FAILED_S
            await asyncio.sleep(pause_s)

    async def _flush(self, group: Sequence[tuple[Key, Due]]) -> bool:
        if not group:
            return True
        self._written.clear()
        self._writing = {key for key, _ in group}
        try:
            found = await self._write(self._database, group)
            for key, items in group:
                if key[:2] in found:
                    self._buffer.written(key, items)
                else:
                    self._buffer.forget(key)
        except Exception as error:
            log.warning(self._event, jobs=len(group), error=repr(error))
            return False
        else:
            return True
        finally:
            self._writing = set()
            self._written.set()


ProgressWriter: TypeAlias = PacedWriter[Report, Report, Report | None]
OutputWriter: TypeAlias = PacedWriter[str, tuple[Chunk, ...], tuple[Chunk, ...]]


def progress_writer(database: Database) -> ProgressWriter:
    """Of reports: the newest of each attempt."""
    return PacedWriter(database, Throttle(), write_progress, "progress_unwritten")


def output_writer(database: Database) -> OutputWriter:
    """Of text that is `storable`: all of it."""
    return PacedWriter(database, Outflow(), _write_output, "output_unwritten")


async def _write_output(database: Database, group: Sequence[tuple[Key, tuple[Chunk, ...]]]) -> set[tuple[str, int]]:
    async with database.transaction() as connection:
        return await write_output(connection, group)
