"""The control channel of one worker process: cancel requests reach it within milliseconds, not at the next beat.

A message names jobs and is no authority: for those that this process holds, the ledger is asked whether somebody really
wants them cancelled, under which fence. A message may be lost, and nothing depends on it: whoever comes back to Redis
asks about everything it holds, and the beat asks every few seconds. Refuses to hear of jobs that it does not hold.
"""

import asyncio
import random
from collections.abc import Callable, Collection

from redis.asyncio import Redis

from shared.db.engine import Database
from shared.kernel.logs import get_logger
from shared.ledger.store_claim import cancel_requests
from shared.transport.names import control_channel

LISTEN_S = 5.0
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
CLAIMING_S = 0.05  # until a claim whose answer is on its way has become a running handler
Cancel = Callable[[str, int], bool]
log = get_logger(__name__)


class Control:
    def __init__(
        self, queue: str, database: Database, redis: "Redis", held: Callable[[], Collection[str]], cancel: Cancel
    ) -> None:
        """`held` are the ids that run here or are being claimed; `cancel(id, fence)` is False when that is not here."""
        self._queue = queue
        self._database = database
        self._redis = redis
        self._held = held
        self._cancel = cancel
        self._asked: set[str] = set()
        self._heard = asyncio.Event()

    async def run(self) -> None:
        """Listen and act until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen_always(), name="control-listen")
            group.create_task(self._act_always(), name="control-act")

    async def _listen_always(self) -> None:
        delay_s = BACKOFF_MIN_S
        while True:
            began_s = self._database.clock.monotonic_s()
            try:
                await self._listen()
            except Exception as error:
                if self._database.clock.monotonic_s() - began_s > BACKOFF_MAX_S:
                    delay_s = BACKOFF_MIN_S  # it had listened for a while
                log.warning("control_lost", queue=self._queue, error=repr(error))
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay_s = min(BACKOFF_MAX_S, delay_s * 2)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(control_channel(self._queue))
            while True:
                message = await subscription.get_message(timeout=LISTEN_S)
                if message is None:
                    continue
                if message["type"] == "message":
                    self._hear(message["data"].decode(errors="replace").split())
                else:  # subscribed, for the first time or again: what was said before was said to nobody
                    self._hear(self._held())

    def _hear(self, ids: Collection[str]) -> None:
        wanted = set(ids) & set(self._held())
        if wanted:
            self._asked |= wanted
            self._heard.set()

    async def _act_always(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            try:
                early = await self._act()
            except Exception as error:  # the beat will find what this leaves
                log.warning("control_failed", queue=self._queue, error=repr(error))
                self._asked.clear()
                continue
            if early:
                await asyncio.sleep(CLAIMING_S)
                self._hear(early)

    async def _act(self) -> set[str]:
        """Cancel what is to be cancelled; returns what is held and does not run here yet."""
        asked, self._asked = self._asked, set()
        requests = await cancel_requests(self._database, sorted(asked))
        return {job_id for job_id, fence in requests if not self._cancel(job_id, fence)}
