"""The writer of output in one worker process: what handlers write reaches the ledger in groups, at a pace, in order.

One transaction writes a group, and at most ten go in a second, however many jobs write; of one job, one in PACE_S. What
is left when an attempt ends is written with its end (see `store_record`). A database that does not answer is tried
again with the same chunks, which may have arrived. What the fence refuses is dropped: another attempt counts by now.
"""

import asyncio
from collections.abc import Sequence

from shared.db.engine import Database
from shared.kernel.logs import get_logger
from shared.ledger.output import Chunk, Outflow
from shared.ledger.progress import Key
from shared.ledger.store_output import write_output

FLUSH_S = 0.1  # between two groups
FAILED_S = 1.0
SETTLE_S = 1.0
log = get_logger(__name__)


class OutputWriter:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._flow = Outflow()
        self._task: asyncio.Task[None] | None = None
        self._writing: set[Key] = set()
        self._written = asyncio.Event()

    def put(self, key: Key, text: str) -> None:
        """Returns at once; to be called on the loop that the attempt runs on. `text` is `storable`."""
        self._flow.put(key, text)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="output")

    def unwritten(self, key: Key) -> tuple[Chunk, ...]:
        """What of this attempt is not known to be in the ledger."""
        return self._flow.rest(key)

    async def settle(self, key: Key) -> None:
        """Let a write of this attempt that is under way end: its end must not meet it in the database."""
        while key in self._writing:
            try:
                await asyncio.wait_for(self._written.wait(), SETTLE_S)
            except TimeoutError:
                return

    def forget(self, key: Key) -> tuple[Chunk, ...]:
        """The attempt has ended: what of it is still to be written."""
        return self._flow.forget(key)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._flow.next_s() is not None:
            group = self._flow.due(loop.time())
            pause_s = FLUSH_S if await self._flush(group) else FAILED_S
            await asyncio.sleep(pause_s)

    async def _flush(self, group: Sequence[tuple[Key, Sequence[Chunk]]]) -> bool:
        if not group:
            return True
        self._written.clear()
        self._writing = {key for key, _ in group}
        try:
            async with self._database.transaction() as connection:
                found = await write_output(connection, group)
            for key, chunks in group:
                if key[:2] in found:
                    self._flow.written(key, chunks)
                else:
                    self._flow.forget(key)
        except Exception as error:
            log.warning("output_unwritten", jobs=len(group), error=repr(error))
            return False
        else:
            return True
        finally:
            self._writing = set()
            self._written.set()
