"""What handlers report reaches the ledger at its pace, through Taskiq's own API as well, and never harms a job."""

import asyncio
import itertools
from typing import Annotated, Any

import pytest
from taskiq import TaskiqDepends
from taskiq.depends.progress_tracker import ProgressTracker, TaskState

from shared.kernel.errors import Misconfigured
from shared.ledger.progress import PACE_S
from shared.transport import paced
from shared.transport.attempt import Attempt, Retry, get_attempt
from tests.integration.engine.engine import Again, Do, Engine

ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
Tracker = Annotated[ProgressTracker[Any], TaskiqDepends()]
SHOWN = "SELECT * FROM job WHERE progress IS NOT NULL"


async def test_progress_is_seen_while_the_handler_runs(engine: Engine) -> None:
    go = asyncio.Event()

    async def work(_: Do, attempt: ThisAttempt) -> None:
        attempt.progress(0.25, "a quarter")
        await go.wait()

    engine.handle(Do, work)
    (job,) = await engine.enqueue(Do())
    await engine.start()
    await engine.until(lambda rows: len(rows) == 1, SHOWN)
    (row,) = await engine.rows(SHOWN)
    assert (row["state"], row["progress"], row["progress_note"]) == ("running", 0.25, "a quarter")
    go.set()
    (row,) = await engine.ended(job)
    assert (row["state"], row["progress"]) == ("completed", 0.25)


async def test_a_thousand_reports_are_a_few_writes_and_the_last_one_arrives(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[float] = []

    async def counted(*args: Any) -> Any:
        writes.append(asyncio.get_running_loop().time())
        return await write(*args)

    write = paced.write_progress
    monkeypatch.setattr(paced, "write_progress", counted)

    async def work(_: Do, attempt: ThisAttempt) -> None:
        for done in range(1_000):
            attempt.progress(done / 1_000, f"{done} done")
            await asyncio.sleep(0.0006)
        attempt.progress(1.5, "all of it")

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert (row["state"], row["progress"], row["progress_note"]) == ("completed", 1.0, "all of it")
    assert 2 <= len(writes) <= 12
    assert all(later - sooner >= PACE_S * 0.99 for sooner, later in itertools.pairwise(writes))


async def test_the_last_report_commits_with_the_attempts_own_transaction(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> None:
        attempt.progress(0.1)
        await asyncio.sleep(0.02)
        attempt.progress(0.9, "nearly")
        async with attempt.tx():
            attempt.result = "done"
        attempt.progress(1.0, "too late")

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert (row["state"], row["progress"], row["progress_note"]) == ("completed", 0.9, "nearly")


@pytest.mark.parametrize("own_end", [True, False])
async def test_a_write_that_comes_too_late_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, own_end: bool
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        began.set()
        await go_on.wait()
        return await write(*args)

    write = paced.write_progress
    monkeypatch.setattr(paced, "write_progress", slow)
    monkeypatch.setattr(paced, "SETTLE_S", 0.05)

    async def work(_: Do, attempt: ThisAttempt) -> None:
        attempt.progress(0.9, "nearly")
        await began.wait()  # it has left the throttle, and is not in the ledger
        if own_end:
            async with attempt.tx():
                attempt.result = None

    engine.handle(Do, work)
    row = await engine.run(Do())
    go_on.set()
    assert (row["state"], row["progress"], row["progress_note"]) == ("completed", 0.9, "nearly")


async def test_every_attempt_starts_anew(engine: Engine) -> None:
    async def work(_: Do, attempt: ThisAttempt) -> None:
        if attempt.number == 1:
            attempt.progress(0.7, "first")
            raise Retry(0.05)

    engine.handle(Again, work)
    row = await engine.run(Again())
    assert (row["state"], row["progress"], row["progress_at"]) == ("completed", None, None)


async def test_a_database_that_refuses_progress_harms_no_handler(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: Any) -> Any:
        raise ConnectionError("away")

    monkeypatch.setattr(paced, "write_progress", refuses)

    async def work(_: Do, attempt: ThisAttempt) -> str:
        attempt.progress(0.5, "nul \x00 and a lone surrogate \ud800")
        await asyncio.sleep(0.05)
        return "well"

    engine.handle(Do, work)
    row = await engine.run(Do())
    assert (row["state"], row["result"]) == ("completed", '"well"')
    assert (row["progress"], row["progress_note"]) == (0.5, "nul  and a lone surrogate ?"), "with the end"


async def test_what_a_handler_left_running_reports_nothing(engine: Engine) -> None:
    left: list[Attempt] = []

    async def work(_: Do, attempt: ThisAttempt) -> None:
        left.append(attempt)

    engine.handle(Do, work)
    await engine.run(Do())
    left[0].progress(0.3)
    assert left[0].reported is None


async def test_taskiqs_progress_tracker_works_on_the_same_columns(engine: Engine) -> None:
    seen: list[Any] = []

    async def work(_: Do, tracker: Tracker) -> None:
        seen.append(await tracker.get_progress())
        await tracker.set_progress(TaskState.STARTED, {"fraction": 0.2, "note": "begun"})
        await tracker.set_progress("resizing")
        found = await tracker.get_progress()
        assert found is not None
        seen.append((found.state, found.meta))
        await tracker.set_progress(TaskState.STARTED, 0.75)

    engine.handle(Do, work)
    await engine.start()
    task = await engine.kiq(Do())
    await task.wait_result(timeout=20)
    assert seen == [None, (TaskState.STARTED, {"fraction": 0.2, "note": "resizing"})]
    found = await task.get_progress()
    assert found is not None
    assert (found.state, found.meta) == (TaskState.SUCCESS, {"fraction": 0.75, "note": ""})
    with pytest.raises(Misconfigured, match="only the handler"):
        await engine.broker.result_backend.set_progress(task.task_id, found)
