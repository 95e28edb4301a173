"""Room in the queues: how many assets may wait, in a whole queue and of one tenant, before another is refused.

Counted by looking, not by a counter that every upload and every end would have to write: a look walks the index of
the line up to the limit, and what it found answers for a second, or for twenty times as long as it took, with what was
let in here since. So a queue may pass its limit by what other processes let in meanwhile, and by uploads that were
under way; what waits is bounded, and asking costs nearly nothing.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from services.media.accepting import KINDS, bringing_lane, queue_for
from services.media.options import Priority
from shared.contracts.command import PRIORITIES
from shared.contracts.commands.media import FetchAsset
from shared.db.engine import Database
from shared.kernel.errors import Overloaded
from shared.ledger.store_backlog import count_in_flows, count_in_line

KNOWN_S: Final = 1.0
REST: Final = 20  # times what the look took
RETRY_AFTER_S: Final = 10
KNOWN_MOST: Final = 10_000


@dataclass(slots=True)
class _Count:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # one look at a time
    waiting: int = 0
    until_s: float = float("-inf")


class Room:
    def __init__(self, database: Database, *, whole: int, tenant: int) -> None:
        self._database = database
        self._whole = whole
        self._tenant = tenant
        self._counts: OrderedDict[tuple[str, str | None], _Count] = OrderedDict()

    async def take(self, queue: str, tenant: str) -> None:
        """Ask before the bytes are taken in; raises Overloaded, which names the limit that is reached."""
        own = await self._ask(queue, tenant, self._tenant, "tenant_waiting_limit", f"{tenant}'s assets")
        whole = await self._ask(queue, None, self._whole, "waiting_limit", "jobs")
        own.waiting += 1
        whole.waiting += 1

    async def promise(self, priority: Priority, tenant: str) -> None:
        """The same for an asset whose bytes a job brings: room for that job, and where it is to be processed then.

        Of what kind it will be nobody knows yet: it is asked for as a picture.
        """
        for queue in dict.fromkeys((FetchAsset.queue, queue_for("image", priority))):
            await self.take(queue, tenant)

    async def _ask(self, queue: str, tenant: str | None, limit: int, name: str, whose: str) -> _Count:
        count = self._counts.setdefault((queue, tenant), _Count())
        self._counts.move_to_end((queue, tenant))
        if len(self._counts) > KNOWN_MOST:
            self._counts.popitem(last=False)
        async with count.lock:
            if time.monotonic() >= count.until_s:
                began_s = time.monotonic()
                count.waiting = await self._look(queue, tenant, limit)
                took_s = time.monotonic() - began_s
                count.until_s = time.monotonic() + max(KNOWN_S, REST * took_s)
        if count.waiting >= limit:
            raise Overloaded(
                f"{count.waiting} of {whose} wait in the queue {queue}, the limit is {limit} ({name})",
                code="media_queue_full", retry_after_s=RETRY_AFTER_S, limit=name, limit_value=limit,
                found=count.waiting,
            )  # fmt: skip
        return count

    async def _look(self, queue: str, tenant: str | None, limit: int) -> int:
        if tenant is None:
            return await count_in_line(self._database, queue, limit)
        lanes = (*KINDS, bringing_lane(tenant))
        # Of every priority, for a waiting job may be given another.
        flows = [f"{priority}/{tenant}/{lane}" for priority in range(PRIORITIES) for lane in lanes]
        return await count_in_flows(self._database, queue, flows, limit)
