"""Lanes, pauses and limits with the real relay and pump: what is promised of them is counted from the ledger's rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from shared.contracts.lane import LanePolicy
from shared.kernel.clock import SECOND_US
from shared.ledger import store_limits, store_pause
from shared.ledger.store_accept import new_job
from shared.ledger.store_dead import cancel_job
from shared.transport.enqueue import enqueue, enqueue_all
from shared.transport.names import stream
from tests.integration.engine.engine import QUEUE, TOLD_S, Again, Do, Engine
from tests.stalls import within


async def limit(engine: Engine, lane: str = "x", **policy: Any) -> None:
    async with engine.resources.tx() as tx:
        await store_limits.put_limits(tx, QUEUE, "acme", lane, LanePolicy(**policy), tx.now_us)
        tx.after_commit(lambda: engine.resources.waker.changed(QUEUE))


async def pause(engine: Engine, lane: str | None = None) -> None:
    async with engine.resources.tx() as tx:
        if lane is None:
            await store_pause.pause_queue(tx, QUEUE, "key_test", tx.now_us)
        else:
            await store_limits.pause_lane(tx, QUEUE, "acme", lane, tx.now_us)
        tx.after_commit(lambda: engine.resources.waker.changed(QUEUE))


async def resume(engine: Engine, lane: str | None = None) -> None:
    async with engine.resources.tx() as tx:
        if lane is None:
            await store_pause.resume_queue(tx, QUEUE)
        else:
            await store_limits.resume_lane(tx, QUEUE, "acme", lane)
        tx.after_commit(lambda: engine.resources.waker.changed(QUEUE))


async def sleepy(_: Do) -> None:
    await asyncio.sleep(0.02)


async def in_state(engine: Engine, ids: Iterable[str], state: str) -> None:
    """Wait until all of them are."""
    wanted = set(ids)
    query = "SELECT id FROM job WHERE state = :state"
    await engine.until(lambda rows: {row["id"] for row in rows} >= wanted, query, state=state)


async def starts(engine: Engine) -> list[str]:
    """Jobs in the order in which their attempts that completed began."""
    rows = await engine.rows("SELECT job_id FROM job_attempt WHERE outcome = 'completed' ORDER BY started_at")
    return [row["job_id"] for row in rows]


async def most_at_once(engine: Engine) -> int:
    steps: list[tuple[int, int]] = []
    for row in await engine.rows("SELECT started_at, finished_at FROM job_attempt"):
        steps += [(row["started_at"], 1), (row["finished_at"], -1)]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


async def test_no_more_than_the_limit_run_at_once_and_as_many_do(engine: Engine) -> None:
    engine.handle(Do, sleepy)
    await limit(engine, concurrency=3)
    ids = await engine.enqueue(*(Do(number=n) for n in range(30)), lane="x")
    await engine.start()
    await engine.ended(*ids)
    assert await most_at_once(engine) == 3


async def test_a_rate_holds_over_every_window(engine: Engine) -> None:
    engine.handle(Do, sleepy)
    await limit(engine, rate_per_s=20.0, burst=4)
    ids = await engine.enqueue(*(Do(number=n) for n in range(16)), lane="x")
    await engine.start()
    rows = await engine.ended(*ids)
    marks = sorted(row["dispatched_at"] for row in rows)
    for first, began in enumerate(marks):
        for last in range(first, len(marks)):
            assert last - first + 1 <= 4 + 20 * (marks[last] - began) / SECOND_US + 1e-3
    assert marks[-1] - marks[0] < 5 * SECOND_US, "it is not much slower than it may be either"


async def test_an_ordered_lane_keeps_its_order_while_its_head_is_tried_again(engine: Engine) -> None:
    async def fails_at_first(command: Again) -> None:
        tries.append(command.number)
        if command.number in (0, 2) and tries.count(command.number) < 3:
            raise RuntimeError("not yet")

    tries: list[int] = []
    engine.handle(Again, fails_at_first)
    await limit(engine, ordered=True)
    ids = await engine.enqueue(*(Again(number=n) for n in range(6)), lane="x")
    await engine.start()
    await engine.ended(*ids)
    assert await starts(engine) == ids
    assert tries == [0, 0, 0, 1, 2, 2, 2, 3, 4, 5]
    assert await most_at_once(engine) == 1


async def test_an_ordered_lane_goes_on_after_a_head_that_died_or_was_cancelled(engine: Engine) -> None:
    async def first_dies(command: Do) -> None:
        if command.number == 0:
            raise RuntimeError("for good")

    engine.handle(Do, first_dies)
    await limit(engine, ordered=True)
    far = engine.database.clock.now_us() + 3600 * SECOND_US
    dying = await engine.enqueue(Do(number=0), lane="x")
    second = await engine.enqueue(Do(number=1), lane="x")
    head = await engine.enqueue(Do(number=2), lane="x", run_at=far)
    behind = await engine.enqueue(*(Do(number=n) for n in range(3, 6)), lane="x")
    await engine.start()
    assert [row["state"] for row in await engine.ended(*dying, *second)] == ["dead", "completed"]
    free = await engine.enqueue(Do(number=9))
    await engine.ended(*free)
    await in_state(engine, behind, "ready")
    async with within(TOLD_S), engine.resources.tx() as tx:
        found = await cancel_job(tx, "acme", head[0], tx.now_us)
        assert found is not None
        assert (found.state, found.queue) == ("cancelled", QUEUE)
        tx.after_commit(lambda: engine.resources.waker.changed(QUEUE))
    async with within(TOLD_S):
        await engine.ended(*behind)
    assert [job for job in await starts(engine) if job in behind] == behind


async def test_an_ordered_lane_with_one_job_now_and_then_starts_each_at_once(engine: Engine) -> None:
    engine.handle(Do, sleepy)
    await limit(engine, ordered=True)
    await engine.start()
    for number in range(3):
        async with within(TOLD_S):
            await engine.ended(*await engine.enqueue(Do(number=number), lane="x"))
        await limit(engine, ordered=True)  # the relay reads everything again between them
        await asyncio.sleep(0.05)


async def test_pausing_a_queue_takes_back_what_nobody_has_claimed(engine: Engine) -> None:
    engine.handle(Do, sleepy)
    await engine.start(worker=False)
    ids = await engine.enqueue(*(Do(number=n) for n in range(10)))
    await in_state(engine, ids, "dispatched")
    async with within(TOLD_S):
        await pause(engine)
        await in_state(engine, ids, "ready")
    assert await engine.resources.redis.xlen(stream(QUEUE)) == 0
    await engine.start(relay=False)
    ids += await engine.enqueue(Do(number=99))
    await asyncio.sleep(0.7)  # more than a look of the relay's own
    assert not await engine.rows("SELECT id FROM job WHERE state <> 'ready'")
    async with within(TOLD_S):
        await resume(engine)
        await engine.ended(*ids)


async def test_a_paused_queue_is_still_paused_for_the_next_relay_and_running_jobs_end(engine: Engine) -> None:
    async def waits(command: Do) -> None:
        if command.number == 0:
            await gate.wait()

    gate = asyncio.Event()
    engine.handle(Do, waits)
    (first,) = await engine.enqueue(Do(number=0))
    await engine.start()
    await in_state(engine, [first], "running")
    await pause(engine)
    (second,) = await engine.enqueue(Do(number=1))
    gate.set()
    await engine.ended(first)
    await engine.close()
    engine.stop.clear()
    await engine.start()
    await asyncio.sleep(0.7)
    assert [row["state"] for row in await engine.rows("SELECT state FROM job WHERE id = :id", id=second)] == ["ready"]
    await resume(engine)
    await engine.ended(second)


async def test_pausing_a_lane_holds_back_that_lane_only(engine: Engine) -> None:
    engine.handle(Do, sleepy)
    await engine.start(worker=False)
    held = await engine.enqueue(*(Do(number=n) for n in range(5)), lane="x")
    others = await engine.enqueue(*(Do(number=n) for n in range(5)), lane="y")
    await in_state(engine, [*held, *others], "dispatched")
    async with within(TOLD_S):
        await pause(engine, "x")
        await in_state(engine, held, "ready")
    await engine.start(relay=False)
    await engine.ended(*others)
    await engine.ended(*await engine.enqueue(Do(number=9)))
    await in_state(engine, held, "ready")
    async with within(TOLD_S):
        await resume(engine, "x")
        await engine.ended(*held)


async def test_a_new_limit_reaches_the_relay_at_once(engine: Engine) -> None:
    async def waits(_: Do) -> None:
        await gate.wait()

    gate = asyncio.Event()
    engine.handle(Do, waits)
    await limit(engine, concurrency=1)
    ids = await engine.enqueue(*(Do(number=n) for n in range(4)), lane="x")
    await engine.start()
    running = "SELECT id FROM job WHERE state = 'running'"
    await engine.until(lambda rows: len(rows) == 1, running)
    async with within(TOLD_S):
        await limit(engine, concurrency=3)
        await engine.until(lambda rows: len(rows) == 3, running)
    assert await engine.rows("SELECT id FROM job WHERE state = 'dispatched'") == []
    gate.set()
    await engine.ended(*ids)


async def test_a_lane_that_stands_still_delays_no_other_lane_and_no_tenant(engine: Engine) -> None:
    async def waits(command: Do) -> None:
        if command.words == "stuck":
            await gate.wait()

    gate = asyncio.Event()
    engine.handle(Do, waits)
    await limit(engine, concurrency=1)
    async with engine.resources.tx() as tx:
        stuck = Do(words="stuck")
        await enqueue_all(tx, [new_job(stuck, tenant="acme", now_us=tx.now_us, lane="x") for _ in range(2_000)])
    await engine.start()
    await engine.until(lambda rows: len(rows) == 1, "SELECT id FROM job WHERE state = 'running'")
    async with engine.resources.tx() as tx:
        others = [await enqueue(tx, Do(), tenant="other", lane="x"), await enqueue(tx, Do(), tenant="acme", lane="y")]
        others += [await enqueue(tx, Do(), tenant="acme"), await enqueue(tx, Do(), tenant="third", priority=9)]
    async with within(TOLD_S):
        await engine.ended(*others)
    assert len(await engine.rows("SELECT id FROM job WHERE state = 'ready'")) == 1_999
    gate.set()
    async with engine.resources.tx() as tx:  # so many one after the other would outlast the test
        await store_limits.clear_limits(tx, QUEUE, "acme", "x", tx.now_us)
        tx.after_commit(lambda: engine.resources.waker.changed(QUEUE))
    await engine.until(lambda rows: rows[0]["n"] == 0, "SELECT count(*) AS n FROM job WHERE state <> 'completed'")


async def test_many_full_lanes_each_go_on_when_one_of_theirs_ends(engine: Engine) -> None:
    engine.handle(Do, sleepy)
    lanes = [f"lane-{number}" for number in range(40)]
    ids = []
    for lane in lanes:
        await limit(engine, lane, concurrency=1)
        ids += await engine.enqueue(*(Do(number=n) for n in range(3)), lane=lane)
    await engine.start()
    await engine.ended(*ids)
    for lane in lanes:
        spans = await engine.rows(
            """SELECT a.started_at, a.finished_at FROM job_attempt AS a JOIN job AS j ON j.id = a.job_id
                WHERE j.lane = :lane ORDER BY a.started_at""",
            lane=lane,
        )
        assert all(one["finished_at"] <= other["started_at"] for one, other in pairwise(spans))
