"""Unique jobs: one waits under a key, two enqueuers at once make one, and a conflict costs a transaction nothing."""

import asyncio
from typing import ClassVar

import pytest

from shared.contracts.command import Command
from shared.contracts.unique import Unique
from shared.db.sql import Statement
from shared.db.tx import open_tx
from shared.kernel.clock import SECOND_US
from shared.kernel.errors import Misconfigured
from shared.ledger import states
from shared.ledger.audit import audit
from shared.ledger.store_accept import new_job
from shared.ledger.store_claim import claim
from shared.ledger.store_dead import cancel_job, retry_jobs
from shared.transport.enqueue import Accepted, Acceptor, enqueue, enqueue_all, enqueue_unique
from tests.integration.ledger.jobs import QUEUE, born, dispatched, recorded, row, rows


class Sync(Command):
    task: ClassVar[str] = "suite.sync"
    queue: ClassVar[str] = QUEUE
    unique: ClassVar[Unique | None] = Unique(fields=("shop",))
    shop: str = "a"
    page: int = 0


async def placed(database, command=None, tenant="t1", **options):
    async with open_tx(database) as tx:
        return await enqueue_unique(tx, command or Sync(), tenant=tenant, **options)


async def sound(database, jobs):
    report = await audit(database)
    assert report.ok, report.report()
    assert report.accepted == jobs


async def run(database, job_id, end):
    """Dispatch, claim and end one job."""
    inc = await born(database, "inc_a")
    now_us = database.clock.now_us() + SECOND_US
    await dispatched(database, now_us=now_us)
    (held,) = await claim(database, [job_id], inc, now_us)
    await recorded(database, end(held, now_us))
    return held


async def test_the_second_is_told_of_the_first(database):
    first = await placed(database, Sync(page=1))
    second = await placed(database, Sync(page=2))
    assert (first.what, second) == ("made", (first.id, "kept"))
    assert (await row(database, first.id))["args"] == '{"shop":"a","page":1}'
    assert (await placed(database, Sync(shop="b"))).what == "made"
    assert (await placed(database, tenant="t2")).what == "made"
    async with open_tx(database) as tx:
        assert await enqueue(tx, Sync(), tenant="t1") == first.id
        beside = await enqueue(tx, Sync(), tenant="t1", unique=False)
    assert beside != first.id
    await sound(database, 4)


async def test_a_key_of_the_queue_is_one_for_all_tenants(database):
    rule = Unique(key="nightly", scope="queue")
    first = await placed(database, tenant="t1", unique=rule)
    assert await placed(database, tenant="t2", unique=rule) == (first.id, "kept")
    assert (await placed(database, unique=Unique(key="nightly"))).what == "made"
    await sound(database, 2)


async def test_replace_puts_the_new_arguments_into_the_job_that_waits(database):
    rule = Unique(fields=("shop",), on_conflict="replace")
    now_us = database.clock.now_us()
    first = await placed(database, Sync(page=1), run_at=now_us + 60 * SECOND_US, priority=3)
    assert await placed(database, Sync(page=2), unique=rule) == (first.id, "replaced")
    kept = await row(database, first.id)
    assert (kept["args"], kept["priority"], kept["run_at"]) == ('{"shop":"a","page":2}', 3, now_us + 60 * SECOND_US)
    await placed(database, Sync(page=3), unique=rule, priority=1, run_at=now_us + SECOND_US)
    changed = await row(database, first.id)
    assert (changed["args"], changed["priority"], changed["due"]) == ('{"shop":"a","page":3}', 1, False)
    assert now_us + SECOND_US <= changed["run_at"] < now_us + 10 * SECOND_US
    await sound(database, 1)


async def test_reschedule_moves_only_the_time_also_of_one_that_is_on_the_stream(database):
    rule = Unique(fields=("shop",), on_conflict="reschedule")
    first = await placed(database, Sync(page=1))
    assert await dispatched(database, now_us=database.clock.now_us()) == [first.id]
    later = database.clock.now_us() + 60 * SECOND_US
    assert await placed(database, Sync(page=2), unique=rule, run_at=later) == (first.id, "rescheduled")
    kept = await row(database, first.id)
    assert (kept["state"], kept["due"], kept["run_at"], kept["dispatched_at"]) == ("ready", False, later, None)
    assert kept["args"] == '{"shop":"a","page":1}'
    assert await claim(database, [first.id], await born(database, "inc_a"), later) == [], "its entry is a stray now"
    assert await dispatched(database, now_us=later - 1) == []
    assert await dispatched(database, now_us=later) == [first.id]


async def test_a_claim_frees_the_key_and_a_retry_meets_nobody(database):
    first = await placed(database)

    def fails(held, now_us):
        return states.failed(held, now_us, states.Failure("X", "x"), started_at=now_us, delay_s=0.0)

    inc = await born(database, "inc_a")
    now_us = database.clock.now_us()
    await dispatched(database, now_us=now_us)
    (held,) = await claim(database, [first.id], inc, now_us)
    second = await placed(database)
    assert second.what == "made"
    assert await recorded(database, fails(held, now_us)) == ["recorded"], "both wait now, and only one has the key"
    assert [one["unique_key"] is None for one in await rows(database, "SELECT * FROM job ORDER BY id")] == [True, False]
    await sound(database, 2)


async def test_what_is_cancelled_or_dead_frees_the_key_and_may_be_retried_beside_another(database):
    cancelled = await placed(database)
    async with open_tx(database) as tx:
        await cancel_job(tx, "t1", cancelled.id, tx.now_us)
    dead = await placed(database)
    await run(database, dead.id, lambda held, now: states.dead(held, now, states.Failure("X", "x"), started_at=now))
    assert (await placed(database)).what == "made"
    async with open_tx(database) as tx:
        done = await retry_jobs(tx, "t1", [cancelled.id, dead.id], tx.now_us, states=("dead", "cancelled"))
    assert set(done) == {cancelled.id, dead.id}
    await sound(database, 3)


async def test_a_window_holds_whatever_has_become_of_the_job(database):
    rule = Unique(fields=("shop",), window_s=3600)
    first = await placed(database, unique=rule)
    await run(database, first.id, lambda held, now: states.completed(held, now, started_at=now))
    for on_conflict in ("keep", "replace", "reschedule"):
        again = rule.model_copy(update={"on_conflict": on_conflict})
        assert await placed(database, Sync(page=9), unique=again) == (first.id, "kept")
    assert (await row(database, first.id))["args"] == '{"shop":"a","page":0}'
    async with database.transaction() as connection:
        await connection.fetch(Statement("pass", "UPDATE dedup SET expires_at = 0"))
    second = await placed(database, unique=rule)
    assert second.what == "made"
    assert await placed(database, unique=rule) == (second.id, "kept")
    await sound(database, 2)


async def test_a_window_that_meets_a_waiting_job_stands_for_that_one(database):
    first = await placed(database)
    rule = Unique(fields=("shop",), window_s=3600)
    assert await placed(database, unique=rule) == (first.id, "kept")
    await run(database, first.id, lambda held, now: states.completed(held, now, started_at=now))
    assert await placed(database, unique=rule) == (first.id, "kept")


@pytest.mark.parametrize("rule", [Unique(fields=("shop",)), Unique(fields=("shop",), window_s=60)])
async def test_many_at_once_make_exactly_one_and_every_transaction_commits(database, rule):
    async def one(number):
        async with open_tx(database, cap_s=20.0) as tx:
            await enqueue(tx, Sync(shop=f"own{number}"), tenant="t1")
            found = await enqueue_unique(tx, Sync(), tenant="t1", unique=rule)
            await enqueue(tx, Sync(shop=f"late{number}"), tenant="t1")
            return found

    found = await asyncio.gather(*(one(number) for number in range(12)))
    assert len({one.id for one in found}) == 1
    assert sorted(one.what for one in found) == ["kept"] * 11 + ["made"]
    await sound(database, 25)


async def test_one_that_rolls_back_leaves_the_key_to_the_next(database):
    class Undone(Exception):
        pass

    async def undone():
        async with open_tx(database) as tx:
            await enqueue_unique(tx, Sync(), tenant="t1", unique=Unique(key="k", window_s=60))
            raise Undone

    with pytest.raises(Undone):
        await undone()
    assert (await placed(database, unique=Unique(key="k", window_s=60))).what == "made"
    await sound(database, 1)


async def test_a_kept_job_does_not_start_before_the_transaction_that_counts_on_it_has_ended(database):
    """Or it would run on what was true before: the enqueuer has written something that the job is to see."""
    first = await placed(database)
    inc = await born(database, "inc_a")
    now_us = database.clock.now_us()
    await dispatched(database, now_us=now_us)
    async with open_tx(database, cap_s=20.0) as tx:
        assert (await enqueue_unique(tx, Sync(), tenant="t1")).id == first.id
        claiming = asyncio.create_task(claim(database, [first.id], inc, now_us))
        done, _ = await asyncio.wait({claiming}, timeout=0.3)
        assert not done
    assert [held.id for held in await claiming] == [first.id]


async def test_several_of_one_key_in_one_call_are_one(database):
    async with open_tx(database) as tx:
        jobs = [new_job(Sync(page=n), tenant="t1", now_us=tx.now_us) for n in range(3)]
        found = await enqueue_all(tx, jobs)
    assert [one.what for one in found] == ["made", "kept", "kept"]
    assert len({one.id for one in found}) == 1
    await sound(database, 1)


async def test_the_group_commit_refuses_what_it_could_not_answer_for(database):
    job = new_job(Sync(), tenant="t1", now_us=database.clock.now_us())
    with pytest.raises(Misconfigured, match="enqueued in a transaction"):
        await Acceptor(database, lambda _: None).submit(Accepted([job]))


def test_rules_that_make_no_sense_are_refused():
    for wrong in (
        {"key": "k", "fields": ("shop",)},
        {"key": ""},
        {"window_s": 0},
        {"scope": "queue", "on_conflict": "replace"},
        {"by": "shop"},
    ):
        with pytest.raises(ValueError, match="validation error"):
            Unique(**wrong)
    with pytest.raises(ValueError, match="has no field 'town'"):
        Unique(fields=("town",)).key_of("t", "t1", {"shop": "a"})
