"""What handlers write reaches the ledger while they run, whole and in order, and never harms the job."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from taskiq import TaskiqDepends

from shared.ledger.output import OUTPUT_LIMIT_BYTES
from shared.transport import execution, paced
from shared.transport.attempt import Attempt, OutputTooLarge, Retry, get_attempt
from tests.integration.engine.engine import Again, Do, Engine

ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
SHOWN = "SELECT * FROM job_output ORDER BY job_id, fence, number"


async def text_of(engine: Engine, job: str) -> str:
    found = [row for row in await engine.rows(SHOWN) if row["job_id"] == job]
    assert [row["number"] for row in found] == list(range(1, len(found) + 1))
    assert len({row["fence"] for row in found}) <= 1
    return "".join(row["text"] for row in found)


async def test_output_is_seen_while_the_handler_runs(engine: Engine) -> None:
    go = asyncio.Event()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        attempt.write("Once ")
        attempt.write("upon")
        await go.wait()
        attempt.write(" a time")

    engine.handle(Do, work)
    (job,) = await engine.enqueue(Do())
    await engine.start()
    await engine.until(lambda rows: len(rows) == 1, SHOWN)
    assert await text_of(engine, job) == "Once upon"
    go.set()
    (row,) = await engine.ended(job)
    assert (row["state"], row["output_chunks"]) == ("completed", 2)
    assert await text_of(engine, job) == "Once upon a time"


async def test_a_thousand_tokens_are_a_few_chunks(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> None:
        for number in range(1_000):
            attempt.write(f"{number} ")
            await asyncio.sleep(0.0005)

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert await text_of(engine, row["id"]) == "".join(f"{number} " for number in range(1_000))
    assert 2 <= row["output_chunks"] <= 20


async def test_what_is_left_commits_with_the_attempts_own_transaction(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> None:
        attempt.write("before")
        async with attempt.tx():
            attempt.write(", within")
            attempt.result = "done"
        attempt.write(", too late")

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert (row["state"], await text_of(engine, row["id"])) == ("completed", "before, within")


@pytest.mark.parametrize("own_end", [True, False])
async def test_an_answer_that_was_lost_doubles_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, own_end: bool
) -> None:
    answers = 0

    class Forgetful:
        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Any]:
            nonlocal answers
            answers += 1
            async with engine.database.transaction() as connection:
                yield connection
            raise ConnectionError("committed, and nobody knows")

    monkeypatch.setattr(execution, "output_writer", lambda _: paced.output_writer(Forgetful()))  # type: ignore[arg-type]
    monkeypatch.setattr(paced, "FAILED_S", 0.05)

    async def work(_: Do, attempt: ThisAttempt) -> None:
        for word in ("one ", "two ", "three"):
            attempt.write(word)
            await asyncio.sleep(0.3)
        if own_end:
            async with attempt.tx():
                attempt.result = None

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert answers > 1
    assert await text_of(engine, row["id"]) == "one two three"


async def test_every_attempt_begins_anew_and_the_first_is_not_kept(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> None:
        attempt.write(f"number {attempt.number}")
        await asyncio.sleep(0.05)
        if attempt.number == 1:
            raise Retry(0.05)

    engine.handle(Again, work)
    row = await engine.run(Again())
    assert await text_of(engine, row["id"]) == "number 2"


async def test_a_database_that_refuses_output_harms_no_handler(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(*_: Any) -> Any:
        raise ConnectionError("away")

    monkeypatch.setattr(paced, "write_output", refuses)

    async def work(_: Do, attempt: ThisAttempt) -> str:
        attempt.write("nul \x00 and a lone surrogate \ud800")
        await asyncio.sleep(0.05)
        return "well"

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert (row["state"], row["result"]) == ("completed", '"well"')
    assert await text_of(engine, row["id"]) == "nul  and a lone surrogate ?", "with the end"


async def test_more_than_the_bound_ends_the_job_with_a_reason(engine: Engine) -> None:
    async def work(_: Again, attempt: ThisAttempt) -> None:
        for _n in range(5):
            attempt.write("ä" * (OUTPUT_LIMIT_BYTES // 8))

    engine.handle(Again, work)
    row = await engine.run(Again())
    assert (row["state"], row["error_type"], row["attempt"]) == ("dead", "OutputTooLarge", 1)
    assert f"the limit is {OUTPUT_LIMIT_BYTES}" in row["error_message"]
    assert len((await text_of(engine, row["id"])).encode()) == OUTPUT_LIMIT_BYTES


async def test_a_handler_may_go_on_without_what_was_too_much(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> str:
        attempt.write("head ")
        with pytest.raises(OutputTooLarge):
            attempt.write("x" * OUTPUT_LIMIT_BYTES)
        attempt.write("tail")
        return "well"

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert (row["state"], await text_of(engine, row["id"])) == ("completed", "head tail")


async def test_what_a_handler_left_running_writes_nothing(engine: Engine) -> None:
    left: list[Attempt] = []

    async def work(_: Do, attempt: ThisAttempt) -> None:
        left.append(attempt)

    engine.handle(Do, work)
    row = await engine.run(Do())
    left[0].write("late")
    assert (left[0].written_bytes, await text_of(engine, row["id"])) == (0, "")


async def test_a_cancelled_handler_leaves_what_it_wrote(engine: Engine) -> None:
    began = asyncio.Event()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        attempt.write("half of")
        began.set()
        await asyncio.sleep(60)

    engine.handle(Do, work)
    (job,) = await engine.enqueue(Do())
    await engine.start()
    await asyncio.wait_for(began.wait(), 20)
    await engine.cancel(job)
    (row,) = await engine.ended(job)
    assert (row["state"], await text_of(engine, job)) == ("cancelled", "half of")
