"""Guards taken out one at a time, to see whether the simulation notices. Each is a context manager."""

import contextlib
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from shared.db.sql import Statement
from shared.ledger import rescue, store_claim, store_dispatch, store_lane, store_line, store_record
from shared.runtime import beat, relay, ticker
from shared.transport import attempt, lanes, pump, reconcile
from shared.transport import relay as queue_relay
from shared.transport.names import JOB, SOLO
from shared.transport.reconcile import Reconciled, ensure_group
from shared.transport.relay import Pass, QueueRelay
from tests.simulation import plan


@contextmanager
def without(statement: Statement, *parts: str, put: str = ""):
    """The statement's SQLite text with these parts left out; a part that is not there is an error."""
    text, names = statement._compile("sqlite")
    for part in parts:
        if part not in text:
            raise AssertionError(f"{statement.name} has no {part!r}: {text}")
        text = text.replace(part, put)
    with mock.patch.dict(statement._compiled, sqlite=(text, names)):
        yield


def no_fence_in_record():
    return without(store_record.END_ATTEMPTS, " AND job.fence = i.fence")


def neither_fence_nor_incarnation_in_record():
    return without(store_record.END_ATTEMPTS, " AND job.fence = i.fence", " AND job.incarnation = i.incarnation")


def no_tombstone_in_claim():
    part = "AND EXISTS (SELECT 1 FROM incarnation WHERE id = :incarnation AND tombstone IS NULL)"
    return without(store_claim.CLAIM, part)


def claim_takes_what_is_ready():
    return without(store_claim.CLAIM, "+job.state = 'dispatched'", put="+job.state IN ('ready', 'dispatched')")


def no_reconcile():
    async def only_the_group(connection, redis, queue, clock, **_):
        await ensure_group(redis, queue)
        return Reconciled()

    return mock.patch.object(relay, "reconcile_window", only_the_group)


async def _nothing(*_):
    return []


def no_look_at_own_running():
    return mock.patch.object(beat, "own_running", _nothing)


def no_look_after_an_ambiguous_claim():
    return mock.patch.object(pump, "own_running", _nothing)


@contextmanager
def no_look_at_own_running_at_all():
    with no_look_at_own_running(), no_look_after_an_ambiguous_claim():
        yield


_DUE = Statement(
    "due",
    """SELECT id, crashes >= 2 AS solo FROM job
        WHERE queue = :queue AND state = 'ready' AND run_at <= :now ORDER BY id LIMIT :room""",
)


_MARK = Statement(
    "mark", "UPDATE job SET state = 'dispatched', dispatched_at = :now WHERE id {any:ids} AND state = 'ready'"
)


@contextmanager
def publish_before_commit():
    """It knows no lanes and no pauses, so there are none."""

    async def run_once(self, connection):
        now_us = self._clock.now_us()
        due = await connection.fetch(_DUE, {"queue": self.queue, "now": now_us, "room": 16})
        if due:
            entries = [part for row in due for part in (SOLO if row["solo"] else JOB, row["id"])]
            await self._publish(keys=[self._stream, self._epoch_key], args=entries)
            await connection.fetch(_MARK, {"ids": [row["id"] for row in due], "now": now_us})
        return Pass(len(due), queue_relay.POLL_S)

    with mock.patch.object(QueueRelay, "run_once", run_once), mock.patch.object(plan, "_plan_lanes"):
        yield


@contextmanager
def publish_before_commit_and_claim_what_is_ready():
    with publish_before_commit(), claim_takes_what_is_ready():
        yield


def every_death_is_a_crash():
    return mock.patch.object(rescue, "CRASH", "")


def suspects_run_beside_others():
    return mock.patch.object(queue_relay, "SUSPECT_CRASHES", 10**6)


def a_stale_transaction_commits():
    real = attempt.record

    async def always_recorded(*args, **values):
        await real(*args, **values)
        return ["recorded"]

    return mock.patch.object(attempt, "record", always_recorded)


def undispatch_whatever_was_seen():
    return without(store_dispatch.UNDISPATCH, " AND dispatched_at <= :seen")


def no_running_in_record():
    return without(store_record.END_ATTEMPTS, " AND +job.state = 'running'")


def a_lost_answer_to_a_read_is_left_alone():
    """Was a defect: the entry waited under the name of a living worker that had never heard of it."""
    return mock.patch.object(reconcile, "CLAIM_WITHIN_MS", 10**12)


def attempts_of_a_job_share_their_place_in_the_books():
    """Was a defect: the end of an attempt that had outlived its deadline removed the newer one from the books."""
    return mock.patch.object(pump, "_key", lambda held: (held.id, 0))


def a_tick_in_two_transactions():
    """The job first, then the tick: who dies between leaves a job that the next ticker makes again."""

    async def make(self, row, decision, now_us):
        async with self._tx() as tx:
            jobs = {tick: ticker.job_of(row, tx.now_us, run_at=tick) for tick in decision.makes}
            await ticker.enqueue_all(tx, list(jobs.values()))
        async with self._tx() as tx:
            written = [ticker.Tick(tick, job.id, decision.missed) for tick, job in jobs.items()]
            written = written or [ticker.Tick(decision.at_us, None, decision.missed)]
            return await ticker.decide_ticks(tx, row, written, decision.next_us, now_us)

    return mock.patch.object(ticker.Ticker, "_make", make)


@contextmanager
def a_tick_of_whoever_comes():
    """Neither the compare-and-set nor the row of a tick keeps two tickers apart."""
    real = ticker.decide_ticks

    async def all_are_new(connection, seen, decided, *rest):
        await real(connection, seen, decided, *rest)
        return {tick.at_us for tick in decided}

    with mock.patch.object(ticker, "decide_ticks", all_are_new):
        yield


def a_tick_that_was_missed_is_not_counted():
    real = ticker.decide
    return mock.patch.object(ticker, "decide", lambda *given: replace(real(*given), missed=0))


def lanes_are_never_full():
    return mock.patch.object(lanes.Lane, "is_full", property(lambda _: False))


def a_group_is_never_full():
    return mock.patch.object(lanes.Lanes, "_is_group_shut", return_value=False)


def a_group_lets_nobody_in():
    return mock.patch.multiple(lanes.Lanes, let_in=lambda *_: [], may_let_in=lambda *_: False)


def a_lane_is_noted_without(**what):
    real = lanes.Lanes.note
    noted = lambda self, name, row: real(self, name, row and row._replace(**what))  # noqa: E731
    return mock.patch.object(lanes.Lanes, "note", noted)


def a_hold_is_not_heeded():
    return a_lane_is_noted_without(held_until=0)


def a_ceiling_is_not_heeded():
    return a_lane_is_noted_without(ceiling=None)


def the_newest_of_an_ordered_lane_goes_first():
    return without(store_lane.HEADS, "ORDER BY o.id LIMIT 1", put="ORDER BY o.id DESC LIMIT 1")


def a_paused_queue_is_not_heard_of():
    async def never(*_):
        return False

    return mock.patch.object(store_lane, "is_paused", never)


def a_follow_up_does_not_wait():
    return without(store_line.MOVE_INTO_LINE, " AND waits_for = 0")


def an_end_is_recorded_and_not_counted():
    async def nobody(*_):
        return set()

    return mock.patch.object(store_record, "count_ends", nobody)


def nothing_taken_out():
    return contextlib.nullcontext()
