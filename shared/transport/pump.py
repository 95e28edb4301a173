"""The pump of one worker process: read ids, claim them, drop the entries, run the handlers, record their ends.

Never holds more claims than it has slots; a slot is free as soon as its handler has returned, before the commit that
records it. Suspects (jobs under which processes have died) run alone, and are claimed only when they can: a process
that dies takes down, and brings under suspicion, nobody but the one that ran. Being declared dead ends the
incarnation: its handlers are cancelled, nothing of them is written, and the pump goes on as a new one. SIGTERM drains.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.db.engine import Database
from shared.kernel.clock import SECOND_US
from shared.kernel.faultpoints import strike
from shared.kernel.logs import get_logger
from shared.ledger import states
from shared.ledger.states import Claim, Failure, Transition
from shared.ledger.store_claim import claim, own_running
from shared.transport.attempt import describe
from shared.transport.control import Control
from shared.transport.execution import Executor
from shared.transport.names import GROUP, job_of, stream
from shared.transport.reconcile import drop_entries, ensure_group
from shared.transport.recorder import Recorder
from shared.transport.telemetry import STRAYS, run_seconds, wait_seconds
from shared.transport.wake import Wake

READ_BLOCK_MS = 1_000
READ_MOST = 500
CANCEL_GRACE_S = 2.0
UNFIT_LOOK_S = 0.5
Why = Literal["drain", "lost", "cancel"]
Fit = Callable[[], Awaitable[bool]]
log = get_logger(__name__)


class Life(Protocol):
    async def begin(self, *, on_lost: Callable[[], None], on_running: Callable[[Sequence[Claim]], None]) -> str: ...

    async def end(self, reason: str = "ended") -> None: ...


@dataclass(slots=True)
class Running:
    claim: Claim
    task: "asyncio.Task[None]"
    why: Why | None = None  # set by whoever cancels the task


class Pump:
    def __init__(
        self, *, queue: str, database: Database, redis: "Redis", executor: Executor, life: Life, capacity: int,
        drain_limit_s: float, wake: Wake, fit: Fit | None = None,
    ) -> None:  # fmt: skip
        """`fit` says whether new work may be taken now; it is asked before every read."""
        self._queue = queue
        self._stream = stream(queue)
        self._database = database
        self._redis = redis
        self._executor = executor
        self._life = life
        self._capacity = capacity
        self._drain_limit_s = drain_limit_s
        self._fit = fit
        self._incarnation = ""
        # By job and fence: a handler that ignores its cancellation may still run when its job has come back to us.
        self._running: dict[tuple[str, int], Running] = {}
        self._solo: deque[tuple[str, str]] = deque()  # (entry, job id): read, not yet claimed
        self._claiming: set[str] = set()
        self._changed = asyncio.Event()  # a slot is free, the incarnation is lost, or the pump is to stop
        self._lost = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()
        self._recorder = Recorder(queue, database, wake)
        self._control = Control(queue, database, redis, self._here, self._cancel_attempt)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain and return; the process may exit after that."""
        watch = asyncio.create_task(self._announce(stop))
        control = asyncio.create_task(self._control.run())
        try:
            while not stop.is_set():
                self._lost.clear()
                self._incarnation = await self._begin(stop)
                if self._incarnation:
                    await self._work(stop)
                if self._lost.is_set():
                    await self._abandon()
            await self._drain()
        finally:
            watch.cancel()
            control.cancel()
            await asyncio.wait({control}, timeout=CANCEL_GRACE_S)

    # Reading and claiming

    async def _work(self, stop: asyncio.Event) -> None:
        delay_s = 0.0
        while not stop.is_set() and not self._lost.is_set():
            self._changed.clear()
            if self._must_wait():
                await self._changed.wait()
                continue
            if self._solo:
                await self._claim_solo()
                continue
            free = self._capacity - len(self._running)
            if free <= 0 or self._recorder.is_behind:
                await self._changed.wait()
                continue
            try:
                if self._fit is not None and not await self._fit():
                    await asyncio.sleep(UNFIT_LOOK_S)
                    continue
                entries = await self._read(min(free, READ_MOST))
                delay_s = 0.0
            except Exception as error:
                delay_s = min(5.0, max(0.1, delay_s * 2))
                log.warning("read_failed", queue=self._queue, error=repr(error))
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                continue
            if entries:
                strike("worker.read")
                await self._take(entries)

    async def _read(self, count: int) -> dict[str, tuple[str, bool]]:
        """Entry id → (job id, alone) of what nobody has read yet; empty after READ_BLOCK_MS."""
        try:
            found: Any = await self._redis.xreadgroup(
                GROUP, self._incarnation, {self._stream: ">"}, count=count, block=READ_BLOCK_MS
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await ensure_group(self._redis, self._queue)  # Redis was wiped; the relay will publish again
            return {}
        batch = found[0][1] if found else []
        return {entry.decode(): job_of(fields) for entry, fields in batch}

    async def _take(self, entries: dict[str, tuple[str, bool]]) -> None:
        """Claim, then drop the entries, also of what could not be claimed: the stream holds only the unclaimed."""
        together = {entry: job_id for entry, (job_id, solo) in entries.items() if not solo}
        STRAYS.labels(queue=self._queue).inc(sum(1 for job_id, _ in entries.values() if not job_id))
        self._solo.extend((entry, job_id) for entry, (job_id, solo) in entries.items() if solo)
        claims = await self._claim([job_id for job_id in together.values() if job_id])
        strike("claim.committed")
        if together:
            self._spawn(self._drop(list(together)))
        for held in claims:
            self._start(held)

    async def _claim(self, ids: list[str]) -> list[Claim]:
        """Tried until the database answers. After an ambiguous commit, what did become ours is looked up."""
        if not ids:
            return []
        self._claiming.update(ids)
        doubtful = False
        delay_s = 0.1
        try:
            while not self._lost.is_set():
                try:
                    won = await claim(self._database, ids, self._incarnation, self._database.clock.now_us())
                    if doubtful:
                        # A duplicated entry may be of what has run here and waits to be recorded: seen before the look,
                        # because it may be recorded while the answer is on its way.
                        known = {_key(held) for held in won} | set(self._running) | self._recorder.unrecorded
                        ours = await own_running(self._database, self._incarnation)
                        won += [held for held in ours if held.id in self._claiming and _key(held) not in known]
                except Exception as error:
                    log.warning("claim_failed", queue=self._queue, error=repr(error))
                    doubtful = True
                    await asyncio.sleep(delay_s)
                    delay_s = min(5.0, delay_s * 2)
                else:
                    return won
            return []
        finally:
            self._claiming.difference_update(ids)

    async def _drop(self, entries: list[str]) -> None:
        try:
            await drop_entries(self._redis, self._queue, entries)
        except Exception as error:  # reconcile deletes what this leaves behind
            log.warning("drop_failed", queue=self._queue, error=repr(error))

    # Running

    def _start(self, held: Claim) -> None:
        task = asyncio.create_task(self._attempt(held), name=held.id)
        self._running[_key(held)] = Running(held, task)

    async def _attempt(self, held: Claim) -> None:
        started_us = self._database.clock.now_us()
        wait_seconds(held.task).observe(max(0, started_us - held.run_at) / SECOND_US)
        transition: Transition | None
        try:
            transition = await self._executor.run(held)
        except asyncio.CancelledError:
            transition = self._cancelled(held, started_us)
        except Exception as error:  # a defect of ours, not of the handler: it still must not vanish
            log.exception("attempt_failed", job=held.id)
            transition = states.failed(
                held, self._database.clock.now_us(), describe(held.task, error), started_at=started_us, delay_s=60.0
            )
        finally:
            self._running.pop(_key(held), None)
            self._changed.set()
        run_seconds(held.task).observe((self._database.clock.now_us() - started_us) / SECOND_US)
        report, output = self._executor.progress.forget(held.key), self._executor.output.forget(held.key)
        if transition is None:  # it has recorded its own end, or may not record any
            return
        if report is not None or output:
            transition = replace(transition, progress=report, output=output)
        try:
            await self._recorder.record(transition)
        finally:
            self._changed.set()

    def _cancelled(self, held: Claim, started_us: int) -> Transition | None:
        running = self._running.get(_key(held))
        now_us = self._database.clock.now_us()
        why = running.why if running else None
        if why == "lost":
            return None
        if why == "cancel":
            failure = Failure("Cancelled", "cancelled on request while it ran", "cancelled")
            return states.discarded(held, now_us, failure, started_at=started_us)
        if why is None:
            return self._executor.failed_on_its_own(held, started_us)
        return states.released(held, now_us, "the worker was shutting down", started_at=started_us)

    async def _claim_solo(self) -> None:
        """Nothing runs here now: claim one suspect and run it alone. It may be somebody else's by now."""
        entry, job_id = self._solo.popleft()
        claims = await self._claim([job_id])
        self._spawn(self._drop([entry]))
        for held in claims:
            log.warning("running_alone", job=held.id, task=held.task, crashes=held.crashes)
            self._start(held)

    def _must_wait(self) -> bool:
        """A suspect runs, or the next thing is one and this process is not empty yet.

        Empty means recorded too: an end that is not in the ledger would be blamed for the death of the process.
        """
        if any(running.claim.suspect for running in self._running.values()):
            return True
        return bool(self._solo) and (bool(self._running) or not self._recorder.is_idle)

    # The incarnation, and the end

    async def _begin(self, stop: asyncio.Event) -> str:
        delay_s = 0.1
        while not stop.is_set():
            try:
                incarnation = await self._life.begin(on_lost=self._on_lost, on_running=self._on_running)
                await ensure_group(self._redis, self._queue)
            except Exception as error:
                log.warning("begin_failed", queue=self._queue, error=repr(error))
                await self._life.end()
                await asyncio.sleep(delay_s)
                delay_s = min(5.0, delay_s * 2)
            else:
                return incarnation
        return ""

    def _on_lost(self) -> None:
        log.warning("incarnation_lost", queue=self._queue, incarnation=self._incarnation)
        self._lost.set()
        self._changed.set()

    def _on_running(self, ours: Sequence[Claim]) -> None:
        """At every beat: give back what the ledger thinks we run and we do not; cancel what somebody asked to."""
        for held in ours:
            running = self._running.get(_key(held))
            if running is not None:
                if held.cancel_requested:
                    self._cancel_attempt(*_key(held))
            elif held.incarnation == self._incarnation and not self._holds(held.id):
                now_us = self._database.clock.now_us()
                self._spawn(self._recorder.record(states.released(held, now_us, "an ambiguous claim")))

    def _here(self) -> set[str]:
        """What runs here, and what may run here in a moment."""
        return {job_id for job_id, _ in self._running} | self._claiming

    def _cancel_attempt(self, job_id: str, fence: int) -> bool:
        """Somebody asked to cancel it. Once is enough: a handler that goes on has its time limit before it."""
        running = self._running.get((job_id, fence))
        if running is not None and running.why is None:
            self._cancel(running, "cancel")
        return running is not None

    def _holds(self, job_id: str) -> bool:
        return job_id in self._claiming or self._recorder.holds(job_id)

    def _cancel(self, running: Running, why: Why) -> None:
        running.why = why
        running.task.cancel()

    async def _abandon(self) -> None:
        """Declared dead: stop every handler, write nothing of them, let the pump begin again."""
        self._solo.clear()  # their entries are published again: this incarnation's consumer is dead
        await self._cancel_all("lost")
        await self._life.end("lost")

    async def _drain(self) -> None:
        """Let handlers finish until the limit; then cancel the rest and give it back without spending an attempt."""
        self._solo.clear()
        self._executor.stopping = True
        tasks = {running.task for running in self._running.values()}
        if tasks:
            log.info("draining", queue=self._queue, jobs=len(tasks), limit_s=self._drain_limit_s)
            await asyncio.wait(tasks, timeout=self._drain_limit_s)
        await self._cancel_all("drain")
        pending = set(self._background)
        if pending:
            await asyncio.wait(pending, timeout=CANCEL_GRACE_S)
        try:
            await asyncio.wait_for(self._recorder.settle(), CANCEL_GRACE_S)
        except TimeoutError:
            log.warning("drained_unrecorded", queue=self._queue)
        await self._life.end()

    async def _cancel_all(self, why: Why) -> None:
        left = list(self._running.values())
        for running in left:
            self._cancel(running, why)
        if left:
            await asyncio.wait({running.task for running in left}, timeout=CANCEL_GRACE_S)

    async def _announce(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(lambda _: self._changed.set())


def _key(held: Claim) -> tuple[str, int]:
    return held.id, held.fence
