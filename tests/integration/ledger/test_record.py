"""Recording: fenced, all of a group at once, and honest about what was recorded, repeated or stale."""

import asyncio
from dataclasses import replace

import pytest

from shared.db.committer import Committer
from shared.kernel.clock import SECOND_US
from shared.ledger import states
from shared.ledger.states import Failure
from shared.ledger.store_claim import claim
from tests.integration.ledger.jobs import NOW_US, born, claimed, dispatched, job, recorded, row, rows


async def attempts(database, job_id):
    return await rows(database, "SELECT * FROM job_attempt WHERE job_id = :id ORDER BY fence", id=job_id)


@pytest.fixture
async def held(database):
    (found,) = await claimed(database, await born(database, "inc_a"), job(1))
    return found


async def test_a_completion_ends_the_job_and_leaves_its_attempt(database, held):
    ended = states.completed(held, NOW_US + 7, started_at=NOW_US + 1, result='{"ok":1}', detail='{"d":1}')
    assert await recorded(database, ended) == ["recorded"]
    stored = await row(database, held.id)
    assert (stored["state"], stored["attempt"], stored["result"], stored["finished_at"]) == (
        "completed", 1, '{"ok":1}', NOW_US + 7,
    )  # fmt: skip
    assert (stored["incarnation"], stored["deadline"]) == (None, None)
    (kept,) = await attempts(database, held.id)
    assert (kept["fence"], kept["outcome"], kept["incarnation"], kept["detail"]) == (1, "completed", "inc_a", '{"d":1}')


async def test_the_same_outcome_written_again_is_repeated_and_changes_nothing(database, held):
    ended = states.completed(held, NOW_US, started_at=NOW_US, result="1")
    assert await recorded(database, ended) == ["recorded"]
    assert await recorded(database, replace(ended, result="2")) == ["repeated"]
    assert (await row(database, held.id))["result"] == "1"
    assert len(await attempts(database, held.id)) == 1


@pytest.mark.parametrize("change", [{"fence": 2}, {"fence": 0}, {"incarnation": "inc_other"}])
async def test_another_fence_or_incarnation_writes_nothing(database, held, change):
    foreign = replace(held, **change)
    assert await recorded(database, states.completed(foreign, NOW_US, started_at=NOW_US)) == ["stale"]
    assert (await row(database, held.id))["state"] == "running"
    assert await attempts(database, held.id) == []


async def test_after_a_rescue_the_late_result_is_stale_and_the_new_attempt_counts(database, held):
    assert await recorded(database, states.lost(held, NOW_US, "silent")) == ["recorded"]
    await born(database, "inc_b")
    await dispatched(database)
    (again,) = await claim(database, [held.id], "inc_b", NOW_US)
    assert again.fence == held.fence + 1
    late = states.completed(held, NOW_US, started_at=NOW_US, result='"late"')
    # The rescuer wrote the attempt row of that fence, so the ledger knows an end of it: not this one.
    assert await recorded(database, late) != ["recorded"]
    assert await recorded(database, states.completed(again, NOW_US, started_at=NOW_US, result='"new"')) == ["recorded"]
    assert (await row(database, held.id))["result"] == '"new"'
    assert [one["outcome"] for one in await attempts(database, held.id)] == ["lost", "completed"]


async def test_a_group_is_judged_row_by_row(database):
    inc = await born(database, "inc_a")
    first, second, third = await claimed(database, inc, job(1), job(2), job(3))
    await recorded(database, states.completed(first, NOW_US, started_at=NOW_US))
    verdicts = await recorded(
        database,
        states.completed(third, NOW_US, started_at=NOW_US),
        states.completed(first, NOW_US, started_at=NOW_US),
        states.completed(replace(second, fence=9), NOW_US, started_at=NOW_US),
    )
    assert verdicts == ["recorded", "repeated", "stale"]


async def test_a_failure_goes_back_with_its_run_at_and_its_words(database, held):
    failure = Failure("ValueError", "no such thing", "f1", "Traceback …")
    await recorded(database, states.failed(held, NOW_US, failure, started_at=NOW_US, delay_s=2.5))
    stored = await row(database, held.id)
    assert (stored["state"], stored["attempt"], stored["run_at"]) == ("ready", 1, NOW_US + round(2.5 * SECOND_US))
    assert (stored["error_type"], stored["error_message"]) == ("ValueError", "no such thing")
    assert stored["finished_at"] is None
    assert (await attempts(database, held.id))[0]["error_trace"] == "Traceback …"
    assert await dispatched(database, now_us=stored["run_at"] - 1) == []
    assert await dispatched(database, now_us=stored["run_at"]) == [held.id]


async def test_what_never_started_leaves_no_attempt(database, held):
    await recorded(database, states.released(held, NOW_US, "an ambiguous claim"))
    assert await attempts(database, held.id) == []
    stored = await row(database, held.id)
    assert (stored["state"], stored["attempt"], stored["releases"], stored["run_at"]) == ("ready", 0, 1, NOW_US)


async def test_a_row_that_the_database_refuses_fails_alone(database):
    """Through the committer, as the pump records: neighbours are written, and the culprit hears of it."""
    inc = await born(database, "inc_a")
    held = await claimed(database, inc, *(job(number) for number in range(12)))

    async def flush(group):
        return await recorded(database, *group)

    committer = Committer("suite", flush)
    ends = [states.completed(one, NOW_US, started_at=NOW_US) for one in held]
    ends[4] = replace(ends[4], state="no such state")
    outcomes = await asyncio.gather(*(committer.submit(end) for end in ends), return_exceptions=True)
    assert [one for index, one in enumerate(outcomes) if index != 4] == ["recorded"] * 11
    assert isinstance(outcomes[4], Exception)
    assert (await row(database, held[4].id))["state"] == "running"
    words = Failure("unrecordable", "the outcome could not be written", "unrecordable")
    assert await committer.submit(states.dead(held[4], NOW_US, words, started_at=NOW_US)) == "recorded"
    assert (await row(database, held[4].id))["state"] == "dead"


async def test_an_attempt_row_that_is_there_already_leaves_the_whole_group_unwritten(database):
    """The job's row and the attempt's row are one write: when the second cannot be, the first is not."""
    inc = await born(database, "inc_a")
    first, second = await claimed(database, inc, job(1), job(2))
    columns = "job_id, fence, finished_at, outcome"
    async with database.begin() as connection:
        await connection.exec_driver_sql(
            f"INSERT INTO job_attempt ({columns}) VALUES ('{first.id}', {first.fence}, 0, 'lost')"
        )
    ends = [states.completed(one, NOW_US, started_at=NOW_US) for one in (first, second)]
    with pytest.raises(Exception, match=r"(?i)unique"):
        await recorded(database, *ends)
    assert {(await row(database, one.id))["state"] for one in (first, second)} == {"running"}
