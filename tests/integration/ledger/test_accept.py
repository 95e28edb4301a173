"""Accepting: rows and tally in one commit, harmless when it is repeated."""

import asyncio

import pytest

from shared.ledger.store_accept import accept
from shared.transport.enqueue import Accepted, Acceptor
from tests.integration.ledger.jobs import accepted, job, row, rows


async def tally(database):
    found = await rows(database, "SELECT sum(accepted) AS accepted, sum(purged) AS purged FROM job_tally")
    return found[0]["accepted"] or 0


async def test_a_new_job_is_ready_and_counted(database):
    (job_id,) = await accepted(database, job(1, priority=2, trace="t", parent="p", lane="l"))
    stored = await row(database, job_id)
    assert (stored["state"], stored["fence"], stored["attempt"]) == ("ready", 0, 0)
    assert (stored["priority"], stored["trace"], stored["parent"], stored["lane"]) == (2, "t", "p", "l")
    assert await tally(database) == 1


async def test_a_batch_written_again_changes_nothing(database):
    for _ in range(2):
        async with database.transaction() as connection:
            await accept(connection, [job(1), job(2)], tally_id="tly_batch")
    assert len(await rows(database, "SELECT id FROM job")) == 2
    assert await tally(database) == 2


async def test_a_transaction_that_fails_leaves_neither_rows_nor_tally(database):
    async def fail_after_accepting():
        async with database.transaction() as connection:
            await accept(connection, [job(1)])
            raise RuntimeError("the caller's own part failed")

    with pytest.raises(RuntimeError):
        await fail_after_accepting()
    assert await rows(database, "SELECT id FROM job") == []
    assert await tally(database) == 0


async def test_nothing_accepted_writes_nothing(database):
    async with database.transaction() as connection:
        await accept(connection, [])
    assert await rows(database, "SELECT id FROM job_tally") == []


async def test_many_callers_are_accepted_together_and_their_queue_is_woken(database):
    woken = []
    acceptor = Acceptor(database, woken.append)
    await asyncio.gather(*(acceptor.submit(Accepted([job(number)])) for number in range(60)))
    assert len(await rows(database, "SELECT id FROM job")) == 60
    assert await tally(database) == 60
    assert len(await rows(database, "SELECT id FROM job_tally")) < 60
    assert set(woken) == {"suite"}
    assert len(woken) == 60


async def test_one_bad_row_of_a_group_fails_alone(database):
    acceptor = Acceptor(database, lambda _: None)
    jobs = [job(number, priority=99 if number == 7 else 5) for number in range(20)]
    outcomes = await asyncio.gather(*(acceptor.submit(Accepted([one])) for one in jobs), return_exceptions=True)
    assert [index for index, outcome in enumerate(outcomes) if outcome is not None] == [7]
    assert len(await rows(database, "SELECT id FROM job")) == 19
    assert await tally(database) == 19
