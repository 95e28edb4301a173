"""Cancelling: a handler is gone within a second of the request, and what it does instead of going is defined.

The engine's worker has no beats here, so what is cancelled was told over the control channel, unless a test beats.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from services.media.pool import Pool
from shared.transport.names import control_channel
from tests.integration.engine.engine import QUEUE, WAIT_S, Again, Brief, Do, Engine
from tests.integration.media.conftest import FAULTY, ended
from tests.stalls import within

SOON_S = 1.0


class Held:
    """A handler that says when it runs and when it was cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, _: Do) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def handled(held: Held):
    async def handler(command: Do) -> None:
        await held(command)

    return handler


async def begin(engine: Engine, held: Held) -> str:
    engine.handle(Do, handled(held))
    (job_id,) = await engine.enqueue(Do())
    await engine.start()
    await asyncio.wait_for(held.begun.wait(), WAIT_S)
    return job_id


async def test_a_running_handler_is_gone_within_a_second(engine: Engine) -> None:
    held = Held()
    job_id = await begin(engine, held)
    async with within(SOON_S):
        assert await engine.cancel(job_id) == "running"
        await asyncio.wait_for(held.cancelled.wait(), WAIT_S)
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["error_type"], row["error_message"]) == (
        "cancelled", "Cancelled", "cancelled on request while it ran",
    )  # fmt: skip
    assert [one["outcome"] for one in await engine.attempts(job_id)] == ["cancelled"]


async def test_scheduled_and_queued_jobs_never_start(engine: Engine) -> None:
    ran: list[int] = []

    async def note(command: Do) -> None:
        ran.append(command.number)

    engine.handle(Do, note)
    await engine.start(worker=False)
    (later,) = await engine.enqueue(Do(number=1), run_at=engine.database.clock.now_us() + 3_600_000_000)
    (queued,) = await engine.enqueue(Do(number=2))
    await engine.until(bool, "SELECT id FROM job WHERE state = 'dispatched'")
    assert [await engine.cancel(one) for one in (later, queued)] == ["cancelled", "cancelled"]
    await engine.start(relay=False)
    await engine.run(Do(number=3))
    assert ran == [3]
    assert await engine.cancel(queued) is None


async def test_the_message_alone_cancels_nothing(engine: Engine) -> None:
    held = Held()
    job_id = await begin(engine, held)
    redis = engine.resources.redis
    for words in (job_id, f"{job_id} {job_id}", "", "\0", "job_" + "0" * 26, b"\xff\xfe"):
        assert await redis.publish(control_channel(QUEUE), words) == 1
    other = Held()
    engine.handle(Again, handled(other))
    (second,) = await engine.enqueue(Again())
    await asyncio.wait_for(other.begun.wait(), WAIT_S)
    await engine.cancel(second)
    await engine.ended(second)  # the channel still works, and had heard all that came before
    assert not held.cancelled.is_set()
    await engine.cancel(job_id)
    await engine.ended(job_id)


async def test_what_nobody_heard_is_found_on_the_way_back_to_redis(engine: Engine) -> None:
    held = Held()
    job_id = await begin(engine, held)
    await engine.cancel(job_id, tell=False)
    await engine.resources.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    (row,) = await engine.ended(job_id)
    assert row["state"] == "cancelled"


async def test_the_beat_finds_it_when_redis_told_nobody(engine: Engine) -> None:
    held = Held()
    job_id = await begin(engine, held)
    await engine.cancel(job_id, tell=False)
    assert engine.life is not None
    await engine.life.beat()
    (row,) = await engine.ended(job_id)
    assert row["state"] == "cancelled"


async def test_completion_wins_if_it_is_first(engine: Engine) -> None:
    """The handler ignores its cancellation and finishes: what it did is done, and the job is completed."""
    begun = asyncio.Event()

    async def stubborn(_: Do) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    engine.handle(Do, stubborn)
    (job_id,) = await engine.enqueue(Do())
    await engine.start()
    await begun.wait()
    await engine.cancel(job_id)
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["result"]) == ("completed", '"done all the same"')
    assert row["cancel_requested_at"] is not None


async def test_one_that_goes_on_is_ended_by_its_time_limit_and_not_tried_again(engine: Engine) -> None:
    begun = asyncio.Event()

    async def stubborn(_: Brief) -> None:
        begun.set()
        with_limit = 0
        while with_limit < 2:  # once for the request, once for the limit
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                with_limit += 1
        raise asyncio.CancelledError

    engine.handle(Brief, stubborn)
    (job_id,) = await engine.enqueue(Brief(), max_attempts=5)
    await engine.start()
    await begun.wait()
    await engine.cancel(job_id)
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["error_type"]) == ("cancelled", "Cancelled")
    assert len(await engine.attempts(job_id)) == 1


async def test_what_would_be_tried_again_ends_as_cancelled(engine: Engine) -> None:
    """It fails before it hears: its claim is older than the request, and the ledger knows better."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def failing(_: Again) -> None:
        begun.set()
        await go.wait()
        raise RuntimeError("no luck")

    engine.handle(Again, failing)
    (job_id,) = await engine.enqueue(Again())
    await engine.start()
    await begun.wait()
    await engine.cancel(job_id, tell=False)
    go.set()
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["error_type"], row["attempt"]) == ("cancelled", "Cancelled", 1)
    (attempt,) = await engine.attempts(job_id)
    assert (attempt["outcome"], attempt["error_type"]) == ("failed", "RuntimeError")


async def test_a_shielded_part_goes_on_and_counts_for_nothing(engine: Engine) -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def inner() -> None:
        await go.wait()
        done.set()

    async def shielding(_: Do) -> str:
        begun.set()
        await asyncio.shield(inner())
        return "the end"

    engine.handle(Do, shielding)
    (job_id,) = await engine.enqueue(Do())
    await engine.start()
    await begun.wait()
    await engine.cancel(job_id)
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["result"]) == ("cancelled", None)
    go.set()
    await asyncio.wait_for(done.wait(), WAIT_S)
    assert (await engine.rows("SELECT state FROM job"))[0]["state"] == "cancelled"


@pytest.mark.parametrize("spin", [False, True])
async def test_a_call_in_the_pool_is_killed_with_its_job(engine: Engine, tmp_path, spin: bool) -> None:
    pool = Pool(1, tasks_module=FAULTY)
    await pool.start()
    fifo = tmp_path / "started"
    os.mkfifo(fifo)

    async def work(_: Do) -> None:
        await pool.run("hold", {"started": str(fifo), "spin": spin}, timeout_s=30.0)

    try:
        engine.handle(Do, work)
        (job_id,) = await engine.enqueue(Do())
        await engine.start()
        pid = int(await asyncio.to_thread(fifo.read_text))
        watch = os.pidfd_open(pid)
        async with within(SOON_S):
            await engine.cancel(job_id)
            assert await ended([watch], WAIT_S)
        os.close(watch)
        (row,) = await engine.ended(job_id)
        assert row["state"] == "cancelled"
        again = await pool.run("echo", {"value": 7}, timeout_s=5.0)
        assert again["value"] == 7
        assert again["pid"] != pid
    finally:
        await pool.close()
