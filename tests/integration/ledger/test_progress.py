"""Progress in the ledger: of the one attempt that runs, cleared by the next claim, written by its end at last."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from shared.ledger import states
from shared.ledger.progress import Report
from shared.ledger.store_claim import claim
from shared.ledger.store_progress import read_watched, write_progress
from tests.integration.ledger.jobs import NOW_US, accepted, born, claimed, dispatched, job, recorded, row

HALF = Report(0.5, "half of it: ½", NOW_US + 5)


@pytest.fixture
async def held(database):
    return await claimed(database, await born(database, "inc_a"), job(1), job(2))


async def progress_of(database, job_id):
    stored = await row(database, job_id)
    return stored["progress"], stored["progress_note"], stored["progress_at"]


async def test_a_group_is_written_at_once(database, held):
    one, two = held
    written = await write_progress(database, [(one.key, HALF), (two.key, Report(1.0, "", NOW_US + 6))])
    assert written == {(one.id, 1), (two.id, 1)}
    assert await progress_of(database, one.id) == (0.5, "half of it: ½", NOW_US + 5)
    assert await progress_of(database, two.id) == (1.0, "", NOW_US + 6)


@pytest.mark.parametrize("change", [{"fence": 0}, {"fence": 2}, {"incarnation": "inc_other"}])
async def test_a_stale_attempt_writes_nothing(database, held, change):
    one, two = held
    assert await write_progress(database, [(replace(one, **change).key, HALF), (two.key, HALF)]) == {(two.id, 1)}
    assert await progress_of(database, one.id) == (None, None, None)


async def test_an_attempt_that_has_ended_writes_nothing(database, held):
    one, _ = held
    assert await recorded(database, states.completed(one, NOW_US, started_at=NOW_US)) == ["recorded"]
    assert await write_progress(database, [(one.key, HALF)]) == set()
    assert await progress_of(database, one.id) == (None, None, None)


async def test_only_a_running_job_has_progress(database, held):
    one, two = held
    async with database.begin() as connection:  # no statement leaves it so; the guard does not rely on that
        await connection.execute(text("UPDATE job SET state = 'dispatched' WHERE id = :id"), {"id": one.id})
    assert await write_progress(database, [(one.key, HALF), (two.key, HALF)]) == {(two.id, 1)}


async def test_the_last_report_is_written_with_the_end(database, held):
    one, two = held
    ended = replace(states.completed(one, NOW_US + 9, started_at=NOW_US), progress=HALF)
    stale = replace(states.completed(replace(two, fence=9), NOW_US, started_at=NOW_US), progress=HALF)
    assert await recorded(database, ended, stale) == ["recorded", "stale"]
    assert (await row(database, one.id))["state"] == "completed"
    assert await progress_of(database, one.id) == (0.5, "half of it: ½", NOW_US + 5)
    assert await progress_of(database, two.id) == (None, None, None)


async def test_the_next_attempt_starts_anew(database, held):
    one, _ = held
    await write_progress(database, [(one.key, HALF)])
    assert await recorded(database, states.lost(one, NOW_US, "silent")) == ["recorded"]
    assert (await progress_of(database, one.id))[0] == 0.5, "until then it shows how far the last one came"
    await born(database, "inc_b")
    await dispatched(database)
    (again,) = await claim(database, [one.id], "inc_b", NOW_US + 10)
    assert await progress_of(database, one.id) == (None, None, None)
    assert await write_progress(database, [(one.key, HALF), (again.key, Report(0.1, "", NOW_US))]) == {(one.id, 2)}
    assert (await progress_of(database, one.id))[0] == 0.1


async def test_many_watched_jobs_are_read_at_once(database, held):
    one, two = held
    await accepted(database, job(3))
    await write_progress(database, [(one.key, HALF)])
    found = await read_watched(database, [one.id, two.id, job(3).id, "job_gone"])
    assert sorted(found) == [one.id, two.id, job(3).id]
    assert (found[one.id]["progress"], found[one.id]["fence"], found[two.id]["progress_at"]) == (0.5, 1, None)
    assert await read_watched(database, []) == {}
