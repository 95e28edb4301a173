"""`attempt.tx()`: a handler's effects commit together with its completion, once, or not at all.

The effect is a row of `dedup`, a table of the ledger that nothing here uses otherwise.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from taskiq import TaskiqDepends

from shared.db.sql import Statement
from shared.db.tx import Tx, open_tx
from shared.kernel.ids import new_id
from shared.ledger import store_incarnation
from shared.ledger.audit import audit
from shared.transport.attempt import Attempt, Dead, Retry, Stale, get_attempt
from tests.integration.engine.engine import WAIT_S, Again, Do, Engine
from tests.stalls import Stalls

ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
EFFECT = Statement(
    "effect", "INSERT INTO dedup (scope, key, fingerprint, created_at, expires_at) VALUES ('effect', :key, '', 0, 1)"
)
EFFECTS = "SELECT key FROM dedup WHERE scope = 'effect' ORDER BY key"


async def effect(tx: Tx, key: str) -> None:
    await tx.fetch(EFFECT, {"key": key})


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(WAIT_S):
        await event.wait()


async def effects(engine: Engine) -> list[str]:
    return [row["key"] for row in await engine.rows(EFFECTS)]


async def test_effects_and_completion_commit_together(engine: Engine) -> None:
    looked = []
    through = asyncio.Event()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        async with attempt.tx() as tx:
            await effect(tx, "done")
            attempt.result = {"kept": True}
            looked.append(await effects(engine))
        looked.append(await engine.rows("SELECT state FROM job"))
        through.set()

    engine.handle(Do, work)
    row = await engine.run(Do())
    await soon(through)
    assert (row["state"], row["result"]) == ("completed", '{"kept":true}')
    assert looked == [[], [{"state": "completed"}]]
    assert await effects(engine) == ["done"]


async def test_a_job_enqueued_by_a_handler_commits_with_it(engine: Engine) -> None:
    from shared.transport.enqueue import enqueue

    async def work(command: Do, attempt: ThisAttempt) -> None:
        async with attempt.tx() as tx:
            if command.number:
                await enqueue(tx, Do(number=command.number - 1), tenant=attempt.tenant)

    engine.handle(Do, work)
    await engine.run(Do(number=2))
    await engine.until(lambda rows: len(rows) == 3, "SELECT id FROM job WHERE state = 'completed'")
    assert (await audit(engine.database)).states == {"completed": 3}


async def test_what_is_raised_inside_rolls_back_and_is_retried(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> None:
        async with attempt.tx() as tx:
            await effect(tx, f"attempt {attempt.number}")
            if attempt.number == 1:
                raise LookupError("not yet")

    engine.handle(Again, work)
    row = await engine.run(Again())
    assert (row["state"], row["attempt"]) == ("completed", 2)
    assert await effects(engine) == ["attempt 2"]


async def test_nothing_after_it_changes_the_outcome(engine: Engine) -> None:
    through = asyncio.Event()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        async with attempt.tx() as tx:
            await effect(tx, "done")
        through.set()
        raise LookupError("too late")

    engine.handle(Again, work)
    (job_id,) = await engine.enqueue(Again())
    await engine.start()
    await soon(through)
    await engine.close()  # whatever it had to say about its end has been said
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["attempt"], row["error_type"]) == ("completed", 1, None)
    assert len(await engine.attempts(row["id"])) == 1


async def test_a_second_one_in_the_same_attempt_is_stale(engine: Engine) -> None:
    said = []
    through = asyncio.Event()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        async with attempt.tx() as tx:
            await effect(tx, "first")
        try:
            async with attempt.tx() as tx:
                await effect(tx, "second")
        except Stale:
            said.append("stale")
        through.set()

    engine.handle(Do, work)
    assert (await engine.run(Do()))["state"] == "completed"
    await soon(through)
    assert said == ["stale"]
    assert await effects(engine) == ["first"]


async def test_it_can_end_the_job_as_dead(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> None:
        async with attempt.tx(dead="the receiver is gone") as tx:
            await effect(tx, "told")

    engine.handle(Again, work)
    row = await engine.run(Again())
    assert (row["state"], row["error_type"], row["error_message"]) == ("dead", "Dead", "the receiver is gone")
    assert await effects(engine) == ["told"]


async def test_a_stale_attempts_effects_roll_back(engine: Engine) -> None:
    """The worker is declared dead while its handler runs; the job is another's when the handler comes to write."""
    heir = new_id("inc")
    stale = asyncio.Event()
    now_us = engine.database.clock.now_us()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        await engine.change(
            "UPDATE job SET fence = fence + 1, incarnation = :heir WHERE id = :id", id=attempt.job_id, heir=heir
        )
        try:
            async with attempt.tx() as tx:
                await effect(tx, "must not be seen")
        finally:
            stale.set()

    engine.handle(Do, work)
    await store_incarnation.born(
        engine.database, heir, queue="lab", role="worker", host="h", pid=2, capacity=1, now_us=now_us
    )
    (job_id,) = await engine.enqueue(Do())
    await engine.start()
    await soon(stale)
    await engine.until(lambda rows: rows[0]["state"] == "running", "SELECT state FROM job")
    assert await effects(engine) == []
    assert await engine.attempts(job_id) == []
    (row,) = await engine.rows("SELECT * FROM job")
    assert (row["incarnation"], row["state"]) == (heir, "running")


async def test_a_stale_return_value_is_refused_and_counted(engine: Engine) -> None:
    from shared.transport.telemetry import STALE_WRITES

    counter = STALE_WRITES.labels(queue="lab")
    before = counter._value.get()
    heir = new_id("inc")

    async def work(_: Do, attempt: ThisAttempt) -> str:
        await engine.change(
            "UPDATE job SET fence = fence + 1, incarnation = :heir WHERE id = :id", id=attempt.job_id, heir=heir
        )
        return "late"

    engine.handle(Do, work)
    await store_incarnation.born(
        engine.database, heir, queue="lab", role="worker", host="h", pid=2, capacity=1,
        now_us=engine.database.clock.now_us(),
    )  # fmt: skip
    (job_id,) = await engine.enqueue(Do())
    await engine.start()
    async with asyncio.timeout(20):
        while counter._value.get() == before:  # noqa: ASYNC110 - nothing there has an event to wait for
            await asyncio.sleep(0.01)
    assert await engine.attempts(job_id) == []
    (row,) = await engine.rows("SELECT * FROM job")
    assert (row["state"], row["result"], row["fence"]) == ("running", None, 2)


async def test_one_that_waits_for_anything_else_is_ended_by_its_cap(engine: Engine) -> None:
    """It holds SQLite's writer and PostgreSQL's horizon: a second for database work, none for a network or a pool."""
    took_s: list[float] = []
    engine.database.tx_cap_s = 1.0

    async def work(_: Do, attempt: ThisAttempt) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            async with attempt.tx() as tx:
                await effect(tx, "must not be seen")
                await asyncio.Event().wait()  # a receiver that does not answer, a pool that is full
        finally:
            took_s.append(loop.time() - began_s)

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert (row["state"], row["error_type"]) == ("dead", "TimeoutError")
    assert await effects(engine) == []
    assert engine.database.tx_cap_s * 0.9 < took_s[0] < engine.database.tx_cap_s + 3


async def test_the_writers_turn_is_free_again_after_the_cap(engine: Engine) -> None:
    with pytest.raises(TimeoutError):  # noqa: PT012 - the block is what is ended
        async with open_tx(engine.database, cap_s=0.05) as tx:
            await effect(tx, "must not be seen")
            await asyncio.Event().wait()
    async with asyncio.timeout(5), open_tx(engine.database) as tx:
        await effect(tx, "next")
    assert await effects(engine) == ["next"]


async def test_what_is_to_happen_after_the_commit_happens_after_it_only(engine: Engine) -> None:
    happened: list[Any] = []
    with pytest.raises(LookupError):  # noqa: PT012 - the block is what rolls back
        async with open_tx(engine.database) as tx:
            tx.after_commit(lambda: happened.append("rolled back"))
            raise LookupError
    async with open_tx(engine.database) as tx:
        await effect(tx, "committed")
        tx.after_commit(lambda: happened.append("committed"))
        assert happened == []
    assert happened == ["committed"]


async def test_effects_commit_together_with_a_failure_and_the_next_attempt_is_in_line(engine: Engine) -> None:
    async def work(_: Again, attempt: ThisAttempt) -> None:
        failing = Retry(0.05, "not yet") if attempt.number == 1 else Dead("never", kind="over")
        async with attempt.tx(failing=failing) as tx:
            await effect(tx, f"attempt {attempt.number}")

    engine.handle(Again, work)
    with Stalls() as stalls:
        row = await engine.run(Again())
    assert (row["state"], row["error_type"], row["error_message"]) == ("dead", "Dead", "never")
    assert await effects(engine) == ["attempt 1", "attempt 2"]
    first, second = await engine.attempts(row["id"])
    assert (first["outcome"], first["error_type"], first["error_message"]) == ("failed", "Retry", "not yet")
    assert 0.05 <= (second["started_at"] - first["finished_at"]) / 1e6 < 1.0 + stalls.seconds


async def test_a_failure_that_counts_no_more_leaves_no_effect(engine: Engine) -> None:
    through = asyncio.Event()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        await engine.change("UPDATE job SET fence = fence + 1 WHERE id = :id", id=attempt.job_id)
        try:
            async with attempt.tx(failing=Retry(1.0, "again")) as tx:
                await effect(tx, "lost")
        finally:
            through.set()

    engine.handle(Do, work)
    await engine.enqueue(Do())
    await engine.start()
    await soon(through)
    assert await effects(engine) == []
