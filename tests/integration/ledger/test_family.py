"""Families: what waits is moved into line when the last child is done, and every child counts once, however it ends."""

import asyncio
from typing import ClassVar

import pytest

from shared.contracts.command import Command
from shared.contracts.commands import ALL
from shared.contracts.unique import Unique
from shared.db.tx import open_tx
from shared.kernel.clock import SECOND_US
from shared.kernel.errors import BadInput
from shared.ledger import states
from shared.ledger.audit import audit
from shared.ledger.rescue import rescue
from shared.ledger.store_claim import claim
from shared.ledger.store_dead import cancel_job, discard_jobs, retry_jobs
from shared.ledger.store_incarnation import bury
from shared.ledger.store_record import record
from shared.transport.family import CHILDREN_MOST, enqueue_family
from tests.integration.ledger.jobs import QUEUE, born, dispatched, recorded, row

FAILURE = states.Failure("X", "x", "x")


class Part(Command):
    task: ClassVar[str] = "suite.part"
    queue: ClassVar[str] = QUEUE
    number: int = 0


class Whole(Part):
    task: ClassVar[str] = "suite.whole"


async def family(database, children=3, **options):
    async with open_tx(database) as tx:
        return await enqueue_family(
            tx, then=Whole(), children=[Part(number=n) for n in range(children)], tenant="t1", **options
        )


async def waits_for(database, made):
    return (await row(database, made.id))["waits_for"]


async def sound(database):
    report = await audit(database)
    assert report.ok, report.report()


async def held(database, *ids, incarnation="inc_a"):
    inc = await born(database, incarnation)
    now_us = database.clock.now_us() + SECOND_US
    await dispatched(database, now_us=now_us)
    claims = await claim(database, ids, inc, now_us)
    assert [one.id for one in claims] == list(ids)
    return claims


def done(one):
    return states.completed(one, one.claimed_at, started_at=one.claimed_at, result='"r"')


def died(one):
    return states.dead(one, one.claimed_at, FAILURE, started_at=one.claimed_at)


async def test_the_last_child_brings_it_into_line(database):
    made = await family(database)
    assert await waits_for(database, made) == 3
    later_us = database.clock.now_us() + 3600 * SECOND_US
    one, two, three = await held(database, *made.children)
    assert await dispatched(database, now_us=later_us) == []
    await recorded(database, done(one), done(two))
    assert await waits_for(database, made) == 1
    assert await dispatched(database, now_us=later_us) == []
    await sound(database)
    freed = set()
    async with database.transaction() as connection:
        await record(connection, [done(three)], sqlite=database.dialect == "sqlite", freed=freed)
    assert freed == {QUEUE}
    waiting = await row(database, made.id)
    assert (waiting["waits_for"], waiting["run_at"]) == (0, three.claimed_at), "due from the end of the last"
    assert await dispatched(database, now_us=three.claimed_at) == [made.id]
    await sound(database)


async def test_an_end_that_is_recorded_again_or_late_counts_once(database):
    made = await family(database, 2)
    one, _ = await held(database, *made.children)
    for _ in range(3):
        await recorded(database, done(one))
    await recorded(database, died(one))
    assert await waits_for(database, made) == 1
    await sound(database)


async def test_a_dead_child_is_not_done_until_somebody_decides(database):
    made = await family(database, 2)
    await recorded(database, *(died(one) for one in await held(database, *made.children)))
    assert await waits_for(database, made) == 2
    first, second = made.children
    async with open_tx(database) as tx:
        await retry_jobs(tx, "t1", [first], tx.now_us)
    (again,) = await held(database, first)
    await recorded(database, done(again))
    assert await waits_for(database, made) == 1
    async with open_tx(database) as tx:
        await discard_jobs(tx, "t1", [second], tx.now_us)
        assert tx.touched == {QUEUE}, "the relay is woken"
    assert await waits_for(database, made) == 0
    await sound(database)


async def test_a_counted_child_that_is_run_again_does_not_count_again(database):
    made = await family(database, 2)
    first, _ = made.children
    async with open_tx(database) as tx:
        await cancel_job(tx, "t1", first, tx.now_us)
        await retry_jobs(tx, "t1", [first], tx.now_us, states=("cancelled",))
    assert await waits_for(database, made) == 1
    (again,) = await held(database, first)
    await recorded(database, done(again))
    assert await waits_for(database, made) == 1
    await sound(database)


async def test_every_path_to_an_end_counts(database):
    """A worker's record, a cancel of what waits, a cancel that a record finds, a rescue of a cancelled one."""
    made = await family(database, 4)
    ended, waiting, asked, lost = made.children
    async with open_tx(database) as tx:
        await cancel_job(tx, "t1", waiting, tx.now_us)
    assert await waits_for(database, made) == 3
    one, two = await held(database, ended, asked)
    await recorded(database, done(one))
    assert await waits_for(database, made) == 2
    async with open_tx(database) as tx:
        assert await cancel_job(tx, "t1", asked, tx.now_us) == ("running", QUEUE, None)
    await recorded(database, states.failed(two, two.claimed_at, FAILURE, started_at=two.claimed_at, delay_s=1.0))
    assert (await row(database, asked))["state"] == "cancelled"
    assert await waits_for(database, made) == 1
    (three,) = await claim(database, [lost], await born(database, "inc_b"), database.clock.now_us())
    async with open_tx(database) as tx:
        await cancel_job(tx, "t1", lost, tx.now_us)
    await bury(database, three.incarnation, "lost", database.clock.now_us())
    found = await rescue(database, ALL)
    assert QUEUE in found.queues
    assert await waits_for(database, made) == 0
    await sound(database)


async def test_run_counts_a_dead_child_once(database):
    made = await family(database, 2, on_dead="run")
    one, _ = await held(database, *made.children)
    await recorded(database, died(one))
    assert await waits_for(database, made) == 1
    async with open_tx(database) as tx:
        await retry_jobs(tx, "t1", [one.id], tx.now_us)
    (again,) = await held(database, one.id, incarnation="inc_b")
    await recorded(database, done(again))
    assert await waits_for(database, made) == 1
    await sound(database)


async def test_cancel_ends_what_waits_and_what_waits_for_that(database):
    async with open_tx(database) as tx:
        upper = await enqueue_family(tx, then=Whole(), children=[], tenant="t1")
    made = await family(database, 2, on_dead="cancel")
    async with database.begin() as connection:  # a family of families, which the API has no word for yet
        await connection.exec_driver_sql(f"UPDATE job SET parent = '{upper.id}' WHERE id = '{made.id}'")
        await connection.exec_driver_sql(f"UPDATE job SET waits_for = 1, due = FALSE WHERE id = '{upper.id}'")
    one, two = await held(database, *made.children)
    await recorded(database, died(one))
    stopped = await row(database, made.id)
    assert (stopped["state"], stopped["error_type"], stopped["waits_for"]) == ("cancelled", "Cancelled", 2)
    assert await waits_for(database, upper) == 0
    await recorded(database, done(two))
    await sound(database)
    async with open_tx(database) as tx:
        await discard_jobs(tx, "t1", [one.id], tx.now_us)
        await retry_jobs(tx, "t1", [made.id], tx.now_us, states=("cancelled",))
    assert made.id in await dispatched(database, now_us=database.clock.now_us() + SECOND_US)
    await sound(database)


async def test_a_cancelled_one_that_is_retried_still_waits_for_the_rest(database):
    made = await family(database, 1)
    async with open_tx(database) as tx:
        await cancel_job(tx, "t1", made.id, tx.now_us)
        await retry_jobs(tx, "t1", [made.id], tx.now_us, states=("cancelled",))
    (one,) = await held(database, *made.children)
    assert (await row(database, made.id))["state"] == "ready"
    await recorded(database, done(one))
    assert await dispatched(database, now_us=one.claimed_at) == [made.id]


async def test_siblings_that_end_at_once_in_many_processes_are_all_counted(database):
    mades = [await family(database, 6) for _ in range(2)]
    claims = await held(database, *(child for made in mades for child in made.children))
    pairs = list(zip(claims[:6], claims[6:][::-1], strict=True))
    await asyncio.gather(*(recorded(database, *(done(one) for one in pair)) for pair in pairs))
    assert [await waits_for(database, made) for made in mades] == [0, 0]
    await sound(database)


async def test_its_own_time_is_kept_and_no_children_is_no_wait(database):
    later_us = database.clock.now_us() + 3600 * SECOND_US
    made = await family(database, 1, run_at=later_us)
    await recorded(database, *(done(one) for one in await held(database, *made.children)))
    assert (await row(database, made.id))["run_at"] == later_us
    alone = await family(database, 0)
    assert await dispatched(database, now_us=later_us - 1) == [alone.id]


async def test_what_cannot_be_a_family_is_refused(database):
    class One(Part):
        unique: ClassVar[Unique | None] = Unique()

    async with open_tx(database) as tx:
        with pytest.raises(BadInput, match="the limit is 1000"):
            await enqueue_family(tx, then=Whole(), children=[Part()] * (CHILDREN_MOST + 1), tenant="t1")
        with pytest.raises(BadInput, match="cannot be of a family"):
            await enqueue_family(tx, then=Whole(), children=[One()], tenant="t1")
