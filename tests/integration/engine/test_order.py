"""When jobs start, through the real relay and worker: at their time, after their children, by a changed priority."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from taskiq import TaskiqDepends

from shared.db.sql import Connection, Statement
from shared.kernel.clock import SECOND_US
from shared.ledger.store_change import change_waiting
from shared.transport.attempt import Attempt, get_attempt
from shared.transport.enqueue import enqueue
from shared.transport.family import enqueue_family
from shared.transport.relay import QueueRelay
from tests.integration.engine.engine import QUEUE, TOLD_S, WAIT_S, Again, Do, Engine
from tests.stalls import within

ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]


async def test_fifty_delayed_jobs_start_at_their_instants(engine: Engine) -> None:
    """None early; the bound on lateness is generous, for a busy machine, and the real figures are printed."""
    started: dict[int, int] = {}
    everyone = asyncio.Event()

    async def note(command: Do) -> None:
        started[command.number] = engine.database.clock.now_us()
        if len(started) == 50:
            everyone.set()

    engine.handle(Do, note)
    await engine.start()
    base_us = engine.database.clock.now_us() + SECOND_US // 2
    due_us = {number: base_us + (number * 37 % 50) * 40_000 for number in range(50)}
    async with engine.resources.tx() as tx:
        for number, at_us in due_us.items():
            await enqueue(tx, Do(number=number), tenant="acme", run_at=at_us)
    await asyncio.wait_for(everyone.wait(), WAIT_S)
    late_ms = sorted((started[number] - due_us[number]) / 1000 for number in due_us)
    print(f"\nlateness of 50 jobs: p50 {late_ms[25]:.1f} ms, p98 {late_ms[48]:.1f} ms, most {late_ms[49]:.1f} ms")
    assert late_ms[0] >= 0, "one started before its time"
    assert late_ms[25] < 250


async def test_a_retry_comes_to_its_turn_while_a_backlog_keeps_the_window_full(engine: Engine) -> None:
    """What came to be due later was found only when the line was empty: a backlog held every retry back."""
    order: list[int] = []
    engine.capacity = 1

    async def note(command: Do) -> None:
        order.append(command.number)
        await asyncio.sleep(0.005)

    engine.handle(Do, note)
    later_us = engine.database.clock.now_us() + SECOND_US // 5
    (first,) = await engine.enqueue(Do(number=-1), run_at=later_us, priority=0)
    ids = await engine.enqueue(*(Do(number=number) for number in range(120)))
    await engine.start()
    await engine.ended(first, *ids)
    assert order.index(-1) < 110


async def test_a_follow_up_runs_once_at_once_and_reads_its_children(engine: Engine) -> None:
    seen: list[Any] = []

    async def part(command: Do) -> dict[str, int]:
        return {"part": command.number}

    async def whole(_: Again, attempt: ThisAttempt) -> int:
        seen.append([(child["state"], child["result"]) for child in await attempt.children()])
        return len(seen)

    engine.handle(Do, part)
    engine.handle(Again, whole)
    await engine.start()
    async with engine.resources.tx() as tx:
        made = await enqueue_family(tx, then=Again(), children=[Do(number=n) for n in range(30)], tenant="acme")
    *children, last = await engine.ended(*made.children, made.id)
    assert seen == [[("completed", {"part": n}) for n in range(30)]]
    assert last["claimed_at"] >= max(child["finished_at"] for child in children)
    assert last["claimed_at"] - max(child["finished_at"] for child in children) < SECOND_US, "it was not woken"


async def test_a_job_whose_priority_changes_while_it_stands_in_the_relays_line_moves(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[int] = []
    first, go, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    reset = QueueRelay.reset

    async def note(command: Do) -> None:
        order.append(command.number)
        if command.number == 0:
            first.set()
            await go.wait()

    async def reset_and_say(relay: QueueRelay, connection: Connection) -> None:
        await reset(relay, connection)
        told.set()

    engine.handle(Do, note)
    engine.capacity = 1
    ids = await engine.enqueue(*(Do(number=number) for number in range(300)))
    await engine.start()
    await asyncio.wait_for(first.wait(), WAIT_S)
    async with engine.resources.tx() as tx:  # due since long, as far as the relay is concerned
        for chosen, priority in ((ids[250], 0), (ids[200], 9)):
            assert await change_waiting(tx, chosen, priority=priority)
        tx.after_commit(lambda: engine.resources.waker.changed(QUEUE))
        monkeypatch.setattr(QueueRelay, "reset", reset_and_say)
    # Its window is full as long as the first job runs, so it finds them a new place only once that has ended.
    await asyncio.wait_for(told.wait(), WAIT_S)
    go.set()
    await engine.ended(*ids)
    assert order.index(250) < 150, "it was served at its old place"
    assert order[-1] == 200
    assert sorted(order) == list(range(300)), "somebody was served twice or not at all"


_HELD = Statement(
    "held",
    """
    UPDATE job SET state = 'running', due = FALSE, fence = 1, incarnation = :incarnation, claimed_at = created_at,
           run_at = created_at - 60000000, deadline = created_at + 60000000
     WHERE id = :id
    """,
)


async def test_a_job_that_is_given_back_to_its_old_place_is_not_waited_for(engine: Engine) -> None:
    """Its place is before everything that the relay looks for; without a word it would be found every few seconds."""
    ran: list[int] = []

    async def note(command: Do) -> None:
        ran.append(command.number)

    engine.handle(Do, note)
    await engine.start()
    later_us = engine.database.clock.now_us() + SECOND_US // 10
    await engine.ended(*await engine.enqueue(Do(number=1), run_at=later_us))
    assert engine.life is not None
    async with engine.resources.tx() as tx:  # as after a claim whose answer was lost: nobody runs it
        job_id = await enqueue(tx, Do(number=2), tenant="acme", run_at=later_us + 3600 * SECOND_US)
        await tx.fetch(_HELD, {"id": job_id, "incarnation": engine.life.incarnation})
    await engine.life.beat()
    async with within(TOLD_S):
        await engine.ended(job_id)
    assert ran == [1, 2]
