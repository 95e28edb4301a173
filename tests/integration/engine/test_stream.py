"""What stands in the stream and is not ours, or not due: dropped, counted, and no harm to what is."""

from __future__ import annotations

import asyncio

import pytest

from shared.kernel.ids import new_id
from shared.transport.names import GROUP, JOB, SOLO, stream
from shared.transport.telemetry import STRAYS
from tests.integration.engine.engine import QUEUE, WAIT_S, Do, Engine

STREAM = stream(QUEUE)
GARBAGE: dict[str, dict[str | bytes, str | bytes]] = {
    "another's fields": {"message": "hello", "n": "1"},
    "an id that there is not": {JOB: "job_01jd0000000000000000000000"},
    "an id that is none": {JOB: "x" * 10_000},
    "an empty id": {JOB: ""},
    "no text": {JOB: b"\xff\xfe\x80"},
    "a nul": {JOB: b"job_\x00"},
    "alone, and there is not": {SOLO: "job_01jd0000000000000000000000"},
    "alone, and a nul": {SOLO: b"\x00"},
}


async def nothing(_: Do) -> None: ...


async def empty(engine: Engine) -> None:
    """Until the stream holds nothing, and nobody holds anything of it."""
    redis = engine.resources.redis
    async with asyncio.timeout(WAIT_S):
        while await redis.xlen(STREAM) or (await redis.xpending(STREAM, GROUP))["pending"]:  # noqa: ASYNC110 - nothing there has an event to wait for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_worker_drops_what_it_cannot_claim_and_goes_on(engine: Engine, garbage: str) -> None:
    engine.handle(Do, nothing)
    await engine.run(Do())
    for _ in range(3):
        await engine.resources.redis.xadd(STREAM, GARBAGE[garbage])
    rows = await engine.ended(*await engine.enqueue(Do(), Do()))
    assert [row["state"] for row in rows] == ["completed"] * 2
    await empty(engine)
    (count,) = await engine.rows("SELECT count(*) AS n FROM job")
    assert count["n"] == 3


async def test_reconcile_deletes_and_counts_what_nobody_reads(engine: Engine) -> None:
    counter = STRAYS.labels(queue=QUEUE)
    before = counter._value.get()
    for fields in GARBAGE.values():
        await engine.resources.redis.xadd(STREAM, fields)
    await engine.start(worker=False)
    async with asyncio.timeout(WAIT_S):
        while counter._value.get() - before < len(GARBAGE):  # noqa: ASYNC110 - a counter has no event to wait for
            await asyncio.sleep(0.01)
    assert await engine.resources.redis.xlen(STREAM) == 0
    assert counter._value.get() - before == len(GARBAGE)


async def test_an_entry_of_a_job_that_is_not_due_does_not_start_it(engine: Engine) -> None:
    """A duplicate must not start a retry hours early: a claim takes only what was dispatched."""
    engine.handle(Do, nothing)
    later_us = engine.database.clock.now_us() + 3_600_000_000
    (job_id,) = await engine.enqueue(Do(), run_at=later_us)
    await engine.run(Do())
    await engine.resources.redis.xadd(STREAM, {JOB: job_id})
    await empty(engine)
    (row,) = await engine.rows("SELECT * FROM job WHERE id = :id", id=job_id)
    assert (row["state"], row["fence"]) == ("ready", 0)


async def test_entries_of_one_job_run_it_once(engine: Engine) -> None:
    runs: list[int] = []

    async def counts(command: Do) -> None:
        runs.append(command.number)

    engine.handle(Do, counts)
    await engine.start(worker=False)
    (job_id,) = await engine.enqueue(Do(number=1))
    await engine.until(lambda rows: rows[0]["state"] == "dispatched", "SELECT state FROM job")
    for _ in range(5):
        await engine.resources.redis.xadd(STREAM, {JOB: job_id})
    await engine.start(relay=False)
    await engine.ended(job_id)
    await empty(engine)
    await engine.resources.redis.xadd(STREAM, {JOB: job_id})
    await empty(engine)
    assert runs == [1]
    assert len(await engine.attempts(job_id)) == 1


async def test_a_wiped_redis_is_filled_again(engine: Engine) -> None:
    engine.handle(Do, nothing)
    await engine.start(worker=False)
    ids = await engine.enqueue(*(Do(number=number) for number in range(10)))
    await engine.until(lambda rows: len(rows) == 10, "SELECT id FROM job WHERE state = 'dispatched'")
    await engine.resources.redis.flushall()
    await engine.start(relay=False)
    assert {row["state"] for row in await engine.ended(*ids)} == {"completed"}


async def test_an_id_of_ours_is_what_an_entry_holds(engine: Engine) -> None:
    engine.handle(Do, nothing)
    await engine.start(worker=False)
    (job_id,) = await engine.enqueue(Do())
    await engine.until(lambda rows: rows[0]["state"] == "dispatched", "SELECT state FROM job")
    async with asyncio.timeout(WAIT_S):
        while not (entries := await engine.resources.redis.xrange(STREAM)):  # noqa: ASYNC110 - nothing there has an event to wait for
            await asyncio.sleep(0.01)
    assert [fields for _, fields in entries] == [{JOB.encode(): job_id.encode()}]
    assert len(job_id) == len(new_id("job"))
