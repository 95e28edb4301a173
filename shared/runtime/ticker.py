"""The ticker: makes the jobs of schedules whose tick has come, for the queues whose relay is active in this process.

A tick's row, its job and the next tick are one transaction, under a compare-and-set: two tickers, a kill between any
two lines or a lost answer to a commit give one job. It looks at least every POLL_S, because clocks step. When a queue
becomes ours, and whenever the wall clock was set back, the rows are compared with the code (`shared.ledger.agenda`).
"""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager

from shared.contracts.commands import ALL
from shared.db.sql import Row
from shared.db.tx import Tx, open_tx
from shared.kernel import logs
from shared.kernel.clock import SECOND_US, rfc3339
from shared.kernel.errors import HoldfastError, NotFound
from shared.kernel.faultpoints import strike
from shared.ledger.agenda import Change, Decision, changes, decide, definitions
from shared.ledger.store_accept import NewJob, new_job
from shared.ledger.store_schedule import (
    Tick,
    decide_ticks,
    forget_job,
    insert_schedule,
    made_after,
    read_schedules,
    upcoming,
    update_schedule,
)
from shared.runtime.resources import Resources
from shared.transport.enqueue import enqueue_all
from shared.transport.telemetry import CRON_LATE, CRON_MISSED

POLL_S = 1.0
STEP_BACK_US = SECOND_US // 2  # less is a clock that is being slewed
log = logs.get_logger(__name__)


class Ticker:
    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._wanted = definitions(ALL.values())
        self._agreed: set[str] = set()  # queues whose rows are those of the code
        self._lead_us: int | None = None  # of the wall clock over the monotonic one, when it was last looked at

    async def run_once(self, queues: Collection[str]) -> float:
        """Serve these queues; returns how many seconds to wait before the next look."""
        self._notice_step_back()
        self._agreed &= set(queues)
        for queue in sorted(set(queues) - self._agreed):
            if await self._agree(queue):
                self._agreed.add(queue)
        serving = sorted({row["queue"] for row in self._wanted.values()} & self._agreed)
        if not serving:
            return POLL_S
        now_us = self._resources.database.clock.now_us()
        rows = await upcoming(self._resources.database, serving, now_us + round(POLL_S * SECOND_US))
        ticked = [await self._tick(row, now_us) for row in rows if row["next_at"] <= now_us]
        if any(ticked):
            return 0.0
        waits_us: list[int] = [row["next_at"] - now_us for row in rows if row["next_at"] > now_us]
        return min([POLL_S, *(wait_us / SECOND_US for wait_us in waits_us)])

    def _notice_step_back(self) -> None:
        clock = self._resources.database.clock
        lead_us = clock.now_us() - round(clock.monotonic_s() * SECOND_US)
        if self._lead_us is not None and lead_us < self._lead_us - STEP_BACK_US:
            log.warning("clock_set_back", seconds=(self._lead_us - lead_us) / SECOND_US)
            self._agreed.clear()
        self._lead_us = lead_us

    async def _agree(self, queue: str) -> bool:
        """Make the rows of a queue those of the code; False when somebody else changed one meanwhile."""
        queues = {command.queue for command in ALL.values()}
        async with self._tx() as tx:
            made = await made_after(tx, tx.now_us)
            todo = changes(self._wanted, await read_schedules(tx), queue, queues, made, tx.now_us)
            done = [await self._write(tx, change) for change in todo]
        for change in todo:
            before = change.row["next_at"] if change.row else None
            log.info(
                "schedule_changed", schedule=change.row["id"] if change.row else change.definition["id"],
                source=change.definition["source"], next_at=rfc3339(change.next_us), instead_of=rfc3339(before),
            )  # fmt: skip
        return all(done)

    async def _write(self, tx: Tx, change: Change) -> bool:
        if change.row is not None:
            return await update_schedule(tx, change.row, change.definition, change.next_us, tx.now_us)
        return await insert_schedule(tx, change.definition, change.next_us or 0, tx.now_us)

    async def _tick(self, row: Row, now_us: int) -> bool:
        """Whether the row has gone on. One that cannot be served is logged, and does not hold up the others."""
        try:
            decision = decide(row, now_us)
            made = await self._make(row, decision, now_us)
        except (HoldfastError, ValueError) as wrong:
            log.warning("cron_failed", schedule=row["id"], tick_at=rfc3339(row["next_at"]), error=repr(wrong))
            return False
        if made is None:
            return True
        late = CRON_LATE.labels(schedule=row["id"])
        for tick in made:
            late.observe(max(0, now_us - tick) / SECOND_US)
        if decision.missed:
            CRON_MISSED.labels(schedule=row["id"]).inc(decision.missed)
            log.warning(
                "cron_missed", schedule=row["id"], ticks=decision.missed, policy=row["missed"], jobs=len(made),
                first=rfc3339(row["next_at"]), last=rfc3339(decision.at_us),
            )  # fmt: skip
        return True

    async def _make(self, row: Row, decision: Decision, now_us: int) -> set[int] | None:
        async with self._tx() as tx:
            jobs = {tick: job_of(row, tx.now_us, run_at=tick) for tick in decision.makes}
            written = [Tick(tick, job.id) for tick, job in jobs.items()] or [Tick(decision.at_us, None)]
            written[0] = Tick(written[0].at_us, written[0].job_id, decision.missed)
            new = await decide_ticks(tx, row, written, decision.next_us, now_us)
            if new is None:
                return None
            made = [tick for tick in jobs if tick in new]
            for tick, job in zip(made, await enqueue_all(tx, [jobs[tick] for tick in made]), strict=True):
                if job.what != "made":  # the command is unique, and one that waits stands for it
                    await forget_job(tx, row["id"], tick)
            strike("cron.ticked")
        strike("cron.committed")
        return new & jobs.keys()

    def _tx(self) -> AbstractAsyncContextManager[Tx]:
        return open_tx(self._resources.database, wake=self._resources.waker.wake)


def job_of(row: Row, now_us: int, *, run_at: int) -> NewJob:
    """A job of this schedule, for a tick or because somebody asks. Raises NotFound when the code has no such task."""
    command = ALL.get(row["task"])
    if command is None:
        raise NotFound(f"no command is named {row['task']}")
    return new_job(command.model_validate_json(row["args"]), tenant=row["tenant"], now_us=now_us, run_at=run_at)
