"""The recorder of one worker process: ends of attempts become durable in groups, and nothing of them vanishes.

A row that fails alone on its data goes to the dead letters as `unrecordable`; its neighbours are safe. A database that
is away is waited for: the attempt has ended, and only its record is missing. What the fence refuses is counted.
"""

from collections.abc import Sequence

from shared.db.committer import Committer
from shared.db.engine import Database
from shared.kernel.logs import get_logger
from shared.ledger import states
from shared.ledger.states import Failure, Transition
from shared.ledger.store_record import Recorded, is_one_statement
from shared.ledger.store_record import record as write
from shared.transport.telemetry import STALE_WRITES, jobs_ended
from shared.transport.wake import CONFIG, FREED, WORK, Wake

WAITING_MOST = 5_000
PATIENCE_S = 24 * 3600.0
log = get_logger(__name__)


class Recorder:
    def __init__(self, queue: str, database: Database, wake: Wake) -> None:
        self._queue = queue
        self._database = database
        self._wake = wake
        self._committer: Committer[Transition, Recorded] = Committer(
            "record", self._flush, max_batch=500, max_waiting=WAITING_MOST, patience_s=PATIENCE_S
        )

    @property
    def is_behind(self) -> bool:
        """So much waits to be written that no more work should be taken."""
        return len(self._committer) >= WAITING_MOST // 2

    @property
    def is_idle(self) -> bool:
        """Every end that this process has seen is in the ledger."""
        return self._committer.is_idle

    @property
    def unrecorded(self) -> set[tuple[str, int]]:
        """(id, fence) of attempts that have ended here and are not known to be in the ledger."""
        return {(transition.claim.id, transition.claim.fence) for transition in self._committer.items}

    def holds(self, job_id: str) -> bool:
        return self._committer.holds(lambda transition: transition.claim.id == job_id)

    async def record(self, transition: Transition) -> None:
        """Return when the end is durable, or refused because somebody else's decision came first."""
        held = transition.claim
        try:
            verdict = await self._committer.submit(transition)
        except Exception as error:
            log.exception("unrecordable", job=held.id)
            failure = Failure("unrecordable", f"the outcome could not be written: {error}"[:500], "unrecordable")
            now_us = self._database.clock.now_us()
            transition = states.dead(held, now_us, failure, started_at=transition.started_at)
            verdict = await self._committer.submit(transition)
        if verdict == "stale":
            STALE_WRITES.labels(queue=self._queue).inc()
            log.warning("stale_write_refused", job=held.id, fence=held.fence)
            return
        if verdict == "repeated" and transition.outcome is None:
            return  # given back although it had ended: somebody looked at the ledger before, and told us after
        if transition.state == "ready":
            # The relay sleeps until the next run_at that it knows. One that is back in its old place stands before all
            # that the relay looks for: it must look at everything again.
            self._wake(self._queue, CONFIG if transition.run_at is None else WORK)
        elif held.lane is not None:
            self._wake(self._queue, FREED)
        jobs_ended(held.task, transition.outcome or "released").inc()

    async def settle(self) -> None:
        await self._committer.settle()

    async def _flush(self, group: Sequence[Transition]) -> Sequence[Recorded]:
        sqlite = self._database.dialect == "sqlite"
        if not sqlite and is_one_statement(group):  # which is its own transaction
            return await write(self._database, group, sqlite=False)
        freed: set[str] = set()
        async with self._database.transaction() as connection:
            verdicts = await write(connection, group, sqlite=sqlite, freed=freed)
        for queue in freed:
            self._wake(queue)
        return verdicts
