"""Every way in which an attempt can end, through the real relay, pump and executor, as the ledger then tells it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Annotated, Any

import orjson
import pytest
from prometheus_client import REGISTRY
from taskiq import TaskiqDepends

from shared.ledger.states import Claim
from shared.ledger.store_claim import own_running
from shared.transport.attempt import RESULT_LIMIT_BYTES, Attempt, Dead, Discard, Postpone, Retry, get_attempt
from tests.integration.engine.engine import Again, Brief, Do, Engine
from tests.stalls import Stalls

ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
ENDED = "SELECT * FROM job WHERE id = :id"


async def nothing(_: Do) -> None: ...


async def test_a_return_value_is_the_result(engine: Engine) -> None:
    async def answer(command: Do) -> dict[str, Any]:
        return {"words": command.words, "list": [1, None, 2.5]}

    engine.handle(Do, answer)
    row = await engine.run(Do(words="Zürich ☂ \x00"))
    assert row["state"] == "completed"
    assert orjson.loads(row["result"]) == {"words": "Zürich ☂ \x00", "list": [1, None, 2.5]}
    (attempt,) = await engine.attempts(row["id"])
    assert (attempt["outcome"], attempt["error_type"]) == ("completed", None)
    assert (
        row["created_at"] <= row["claimed_at"] <= attempt["started_at"] <= attempt["finished_at"] == row["finished_at"]
    )


async def test_an_unknown_task_is_given_back_and_then_dead(engine: Engine) -> None:
    """In a rolling deploy another worker may know it: it is given back without spending an attempt, for a while."""
    engine.patience_s = 12  # two pauses, of 5 and of 10 s; here the clock is put forward for each
    (job_id,) = await engine.enqueue(Do())
    await engine.start()
    for releases in (1, 2):
        await engine.until(lambda rows, n=releases: rows[0]["releases"] == n, ENDED, id=job_id)
        (row,) = await engine.rows(ENDED, id=job_id)
        assert (row["state"], row["attempt"]) == ("ready", 0)
        assert row["run_at"] > engine.database.clock.now_us() + 3_000_000
        await engine.change("UPDATE job SET run_at = 0 WHERE id = :id", id=job_id)
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["error_type"]) == ("dead", "unknown_task")
    assert "'lab.do'" in row["error_message"]
    assert [one["outcome"] for one in await engine.attempts(job_id)] == ["released", "released", "failed"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ('{"number": "many"}', "/number: Input should be a valid integer"),
        ('{"number": 1, "words": null}', "/words: Input should be a valid string"),
        ("[1]", "/: "),
        ("no json", "/: Invalid JSON"),
    ],
)
async def test_unreadable_arguments_are_dead_at_once_and_say_where(engine: Engine, args: str, says: str) -> None:
    engine.handle(Again, nothing)
    (job_id,) = await engine.enqueue(Again())
    await engine.change("UPDATE job SET args = :args WHERE id = :id", id=job_id, args=args)
    await engine.start()
    (row,) = await engine.ended(job_id)
    assert (row["state"], row["error_type"], row["attempt"]) == ("dead", "unreadable_args", 1)
    assert says in row["error_message"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, "not JSON serializable"),
        ("x" * RESULT_LIMIT_BYTES, f"the limit is {RESULT_LIMIT_BYTES}"),
        ({"half": "\ud800"}, ""),
        (object(), "not JSON serializable"),
    ],
    ids=["a set", "too large", "half a character", "an object"],
)
async def test_a_result_that_cannot_be_kept_is_dead_and_says_why(engine: Engine, value: Any, says: str) -> None:
    async def answer(_: Do) -> Any:
        return value

    engine.handle(Again, answer)
    row = await engine.run(Again())
    assert (row["state"], row["error_type"], row["attempt"]) == ("dead", "unrecordable", 1)
    assert says in row["error_message"]


async def test_a_result_of_just_the_limit_is_kept(engine: Engine) -> None:
    async def answer(_: Do) -> str:
        return "x" * (RESULT_LIMIT_BYTES - 2)

    engine.handle(Do, answer)
    assert (await engine.run(Do()))["state"] == "completed"


async def test_dead_gives_up_at_once(engine: Engine) -> None:
    async def hopeless(_: Do) -> None:
        raise Dead("there is no such address")

    engine.handle(Again, hopeless)
    row = await engine.run(Again())
    assert (row["state"], row["error_type"], row["error_message"]) == ("dead", "Dead", "there is no such address")
    assert len(await engine.attempts(row["id"])) == 1


async def test_discard_ends_as_cancelled(engine: Engine) -> None:
    async def unwanted(_: Do) -> None:
        raise Discard("the asset is gone")

    engine.handle(Again, unwanted)
    row = await engine.run(Again())
    assert (row["state"], row["error_type"], row["error_message"]) == ("cancelled", "Discard", "the asset is gone")


async def test_retry_chooses_its_own_pause_and_its_attempts_are_counted(engine: Engine) -> None:
    async def impatient(_: Do) -> None:
        raise Retry(0.01, "busy")

    engine.handle(Again, impatient)
    row = await engine.run(Again())
    assert (row["state"], row["attempt"], row["error_type"], row["error_message"]) == ("dead", 4, "Retry", "busy")
    attempts = await engine.attempts(row["id"])
    assert [one["outcome"] for one in attempts] == ["failed"] * 4
    assert attempts[-1]["finished_at"] - attempts[0]["started_at"] < 700_000 * 20, "the policy's pauses were kept"


async def test_an_exception_is_kept_with_its_trace_and_retried_by_the_policy(engine: Engine) -> None:
    async def fails_twice(_: Do, attempt: ThisAttempt) -> int:
        if attempt.number <= 2:
            raise LookupError(f"attempt {attempt.number}")
        assert not attempt.is_last
        return attempt.number

    engine.handle(Again, fails_twice)
    row = await engine.run(Again())
    assert (row["state"], row["result"], row["attempt"], row["error_type"]) == ("completed", "3", 3, None)
    attempts = await engine.attempts(row["id"])
    assert [one["error_message"] for one in attempts] == ["attempt 1", "attempt 2", None]
    assert 'raise LookupError(f"attempt' in attempts[0]["error_trace"]


async def test_a_handler_past_its_time_is_ended(engine: Engine) -> None:
    ended = asyncio.Event()

    async def slow(_: Do) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    engine.handle(Brief, slow)
    row = await engine.run(Brief())
    assert ended.is_set()
    assert (row["state"], row["error_type"]) == ("dead", "TimedOut")
    assert "0.1 s" in row["error_message"]
    (attempt,) = await engine.attempts(row["id"])
    assert attempt["outcome"] == "timed_out"
    assert 100_000 <= attempt["finished_at"] - attempt["started_at"] < 5_000_000


async def test_a_timeout_of_the_handlers_own_is_a_failure_like_any_other(engine: Engine) -> None:
    async def impatient(_: Do) -> None:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    engine.handle(Do, impatient)
    row = await engine.run(Do())
    assert (row["state"], row["error_type"]) == ("dead", "TimeoutError")


async def test_a_handler_that_cancels_itself_has_failed(engine: Engine) -> None:
    async def cancels(_: Do) -> None:
        raise asyncio.CancelledError

    engine.handle(Do, cancels)
    row = await engine.run(Do())
    assert (row["state"], row["error_type"]) == ("dead", "CancelledError")


@pytest.mark.parametrize("words", ["a nul \x00 byte", "half a character \ud800", "x" * 100_000, ""])
async def test_an_error_of_any_words_ends_its_own_job_only(engine: Engine, words: str) -> None:
    """What PostgreSQL or JSON cannot hold must not keep neighbours of the same group commit from being recorded."""
    together = asyncio.Barrier(10)

    async def fails(command: Do) -> None:
        await together.wait()
        if command.number == 3:
            raise LookupError(words)

    engine.handle(Do, fails)
    ids = await engine.enqueue(*(Do(number=number) for number in range(10)))
    await engine.start()
    rows = await engine.ended(*ids)
    assert [row["state"] for row in rows] == ["completed"] * 3 + ["dead"] + ["completed"] * 6
    assert rows[3]["error_type"] == "LookupError"


@pytest.mark.parametrize("words", ["a nul \x00 byte", "half a character \ud800"])
async def test_an_error_whose_words_cannot_be_kept_is_tried_again_like_any_other(engine: Engine, words: str) -> None:
    async def recovers(_: Again, attempt: ThisAttempt) -> None:
        if attempt.number == 1:
            raise LookupError(words)

    engine.handle(Again, recovers)
    row = await engine.run(Again())
    assert (row["state"], row["attempt"]) == ("completed", 2)
    failed, _ = await engine.attempts(row["id"])
    assert (failed["outcome"], failed["error_type"]) == ("failed", "LookupError")
    assert failed["error_message"].startswith(words[:5])
    assert "recovers" in failed["error_trace"]


async def test_a_retry_starts_when_it_is_due(engine: Engine) -> None:
    """At light load within 250 ms of `run_at`, measured from the ledger; the bound is wider for a busy machine."""

    async def fails(_: Do) -> None:
        raise LookupError("again")

    engine.handle(Again, fails)
    await engine.start()
    late_us = []
    with Stalls() as stalls:
        rows = await engine.ended(*await engine.enqueue(Again(), Again()))
    for row in rows:
        attempts = await engine.attempts(row["id"])
        for delay_us, (before, after) in zip((200_000, 400_000, 200_000), itertools.pairwise(attempts), strict=True):
            late_us.append(after["started_at"] - before["finished_at"] - delay_us)
    assert min(late_us) >= 0, "a retry started before it was due"
    assert sorted(late_us)[len(late_us) // 2] < 250_000
    assert max(late_us) - stalls.seconds * 1e6 < 2_000_000


async def test_what_is_due_later_does_not_start_earlier(engine: Engine) -> None:
    engine.handle(Do, nothing)
    await engine.start()
    due_us = engine.database.clock.now_us() + 1_500_000
    (later,) = await engine.enqueue(Do(), run_at=due_us)
    (first,) = await engine.enqueue(Do())
    with Stalls() as stalls:
        rows = await engine.ended(first, later)
    assert rows[1]["claimed_at"] >= due_us
    assert rows[1]["claimed_at"] - due_us - stalls.seconds * 1e6 < 2_000_000
    assert rows[0]["claimed_at"] <= rows[1]["claimed_at"]


async def test_what_is_postponed_goes_back_and_spends_nothing(engine: Engine) -> None:
    asked = itertools.count()

    async def not_now(_: Do) -> None:
        if next(asked) < 2:
            raise Postpone(0.05, "the door is closed")

    engine.handle(Do, not_now)
    row = await engine.run(Do())
    assert (row["state"], row["attempt"], row["releases"]) == ("completed", 1, 2)
    assert [one["outcome"] for one in await engine.attempts(row["id"])] == ["completed"]


async def test_what_is_postponed_for_ever_ends(engine: Engine) -> None:
    async def never(_: Do) -> None:
        raise Postpone(0.001, "the door is closed")

    engine.handle(Do, never)
    row = await engine.run(Do())
    assert row["state"] == "dead"
    assert "given back" in row["error_message"]


async def test_a_look_that_is_answered_after_an_end_gives_nothing_back(engine: Engine) -> None:
    """A beat reads what runs here, and tells it later: by then it may have been recorded."""
    seen: list[Claim] = []

    async def told_of(_: Do) -> None:
        assert engine.life is not None
        seen.extend(await own_running(engine.database, engine.life.incarnation))

    def released() -> float:
        return REGISTRY.get_sample_value("holdfast_jobs_total", {"task": Do.task, "outcome": "released"}) or 0.0

    engine.handle(Do, told_of)
    row = await engine.run(Do())
    before = released()
    assert engine.life is not None
    engine.life._on_running(seen)
    (other,) = await engine.enqueue(Do())
    await engine.ended(other)
    assert [held.id for held in seen[:1]] == [row["id"]]
    assert released() == before
    assert (await engine.rows(ENDED, id=row["id"]))[0]["state"] == "completed"
