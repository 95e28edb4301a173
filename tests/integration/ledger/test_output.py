"""Output in the ledger: appended by the one attempt that runs, in order, once; gone with the next one's first word."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from shared.ledger import states
from shared.ledger.output import Chunk
from shared.ledger.store_claim import claim
from shared.ledger.store_output import PURGE_OUTPUT, READ_MOST, read_output, write_output
from shared.ledger.store_progress import read_watched
from tests.integration.ledger.jobs import NOW_US, born, claimed, dispatched, job, recorded, row, rows

A, B, C = Chunk(1, 0, "Es war "), Chunk(2, 7, 'einmal: ½ "😀"\n'), Chunk(3, 21, "…")


@pytest.fixture
async def held(database):
    return await claimed(database, await born(database, "inc_a"), job(1), job(2))


async def written(database, *output):
    async with database.transaction() as connection:
        return await write_output(connection, output)


async def test_chunks_of_many_jobs_are_written_at_once_and_read_in_order(database, held):
    one, two = held
    assert await written(database, (one.key, [A, B]), (two.key, [A])) == {(one.id, 1), (two.id, 1)}
    assert await read_output(database, one.id, 1, 0) == [A, B]
    assert await read_output(database, one.id, 1, 1) == [B]
    assert (await row(database, one.id))["output_chunks"] == 2
    assert (await read_watched(database, [two.id]))[two.id]["output_chunks"] == 1


async def test_a_write_that_is_made_again_changes_nothing(database, held):
    one, _ = held
    await written(database, (one.key, [A, B, C]))
    assert await written(database, (one.key, [A, B])) == {(one.id, 1)}
    assert await read_output(database, one.id, 1, 0) == [A, B, C]
    assert (await row(database, one.id))["output_chunks"] == 3


@pytest.mark.parametrize("change", [{"fence": 0}, {"fence": 2}, {"incarnation": "inc_other"}])
async def test_a_stale_attempt_writes_nothing(database, held, change):
    one, two = held
    assert await written(database, (replace(one, **change).key, [A]), (two.key, [A])) == {(two.id, 1)}
    assert await rows(database, "SELECT * FROM job_output WHERE job_id = :id", id=one.id) == []
    assert (await row(database, one.id))["output_chunks"] == 0


async def test_an_attempt_that_has_ended_writes_nothing(database, held):
    one, _ = held
    assert await recorded(database, states.completed(one, NOW_US, started_at=NOW_US)) == ["recorded"]
    assert await written(database, (one.key, [A])) == set()


async def test_only_a_running_job_has_output(database, held):
    one, two = held
    async with database.begin() as connection:  # no statement leaves it so; the guard does not rely on that
        await connection.execute(text("UPDATE job SET state = 'dispatched' WHERE id = :id"), {"id": one.id})
    assert await written(database, (one.key, [A]), (two.key, [A])) == {(two.id, 1)}


async def test_the_rest_is_written_with_the_end(database, held):
    one, two = held
    await written(database, (one.key, [A]))
    ended = replace(states.completed(one, NOW_US + 9, started_at=NOW_US), output=(A, B))
    stale = replace(states.completed(replace(two, fence=9), NOW_US, started_at=NOW_US), output=(A,))
    assert await recorded(database, ended, stale) == ["recorded", "stale"]
    assert await read_output(database, one.id, 1, 0) == [A, B]
    assert await read_output(database, two.id, 1, 0) == []
    assert await read_output(database, two.id, 9, 0) == []


async def test_the_next_attempt_begins_anew(database, held):
    one, _ = held
    await written(database, (one.key, [A, B]))
    assert await recorded(database, states.lost(one, NOW_US, "silent")) == ["recorded"]
    assert (await row(database, one.id))["output_chunks"] == 2, "until then it shows what the last one wrote"
    await born(database, "inc_b")
    await dispatched(database)
    (again,) = await claim(database, [one.id], "inc_b", NOW_US + 10)
    assert (await row(database, one.id))["output_chunks"] == 0
    assert await written(database, (one.key, [C]), (again.key, [A])) == {(one.id, 2)}
    assert await read_output(database, one.id, 1, 0) == [], "what is kept is bounded by one attempt's"
    assert await read_output(database, one.id, 2, 0) == [A]


async def test_a_look_is_bounded(database, held):
    one, _ = held
    chunks = [Chunk(number, number - 1, "x") for number in range(1, READ_MOST + 3)]
    await written(database, (one.key, chunks))
    assert len(await read_output(database, one.id, 1, 0)) == READ_MOST
    assert await read_output(database, one.id, 1, READ_MOST) == chunks[READ_MOST:]


async def test_it_is_purged_by_job(database, held):
    one, two = held
    await written(database, (one.key, [A, B]), (two.key, [A]))
    await database.fetch(PURGE_OUTPUT, {"ids": [one.id]})
    assert [found["job_id"] for found in await rows(database, "SELECT job_id FROM job_output")] == [two.id]
