"""Claims: dispatched jobs only, for a living incarnation only, each under a fence of its own."""

import asyncio

from shared.kernel.clock import SECOND_US
from shared.ledger import states
from shared.ledger.store_claim import claim, own_running
from shared.ledger.store_incarnation import beat, bury, bury_silent, forget, living
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, born, claimed, dispatched, job, recorded, row


async def test_a_claim_raises_the_fence_and_sets_a_deadline_behind_the_timeout(database):
    inc = await born(database, "inc_a")
    (held,) = await claimed(database, inc, job(1, timeout_s=2.5))
    stored = await row(database, held.id)
    assert (stored["state"], stored["fence"], stored["incarnation"]) == ("running", 1, inc)
    assert stored["claimed_at"] == NOW_US
    assert stored["deadline"] == NOW_US + round((2.5 + states.DEADLINE_GRACE_S) * SECOND_US)
    assert (held.fence, held.attempt, held.queue, held.suspect, held.cancel_requested) == (1, 0, QUEUE, False, False)


async def test_only_dispatched_jobs_are_claimed_and_in_the_order_asked_for(database):
    inc = await born(database, "inc_a")
    await accepted(database, job(1), job(2), job(3, run_at=NOW_US + SECOND_US))
    await dispatched(database)
    asked = [job(2).id, job(3).id, job(1).id, "job_unknown", job(2).id]
    assert [held.id for held in await claim(database, asked, inc, NOW_US)] == [job(2).id, job(1).id]
    assert await claim(database, asked, inc, NOW_US) == [], "a duplicated entry claims nothing"


async def test_of_two_claimants_one_wins(database):
    await born(database, "inc_a")
    await born(database, "inc_b")
    await accepted(database, *(job(number) for number in range(20)))
    ids = await dispatched(database)
    first, second = await asyncio.gather(claim(database, ids, "inc_a", NOW_US), claim(database, ids, "inc_b", NOW_US))
    assert sorted(held.id for held in first + second) == sorted(ids)


async def test_an_unborn_or_tombstoned_incarnation_claims_nothing(database):
    await accepted(database, job(1))
    await dispatched(database)
    assert await claim(database, [job(1).id], "inc_unborn", NOW_US) == []
    await born(database, "inc_a")
    assert await bury(database, "inc_a", "crash: killed", NOW_US)
    assert await claim(database, [job(1).id], "inc_a", NOW_US) == []
    assert (await row(database, job(1).id))["state"] == "dispatched"


async def test_a_tombstone_is_set_once_and_ends_the_beat(database):
    await born(database, "inc_a")
    assert await beat(database, "inc_a") == 1
    assert not await bury_silent(database, "inc_a", 0, "lost", NOW_US), "it has beaten since"
    assert await bury_silent(database, "inc_a", 1, "lost", NOW_US)
    assert not await bury(database, "inc_a", "crash: too late", NOW_US)
    assert await beat(database, "inc_a") is None
    assert await living(database) == []
    await born(database, "inc_a")
    assert await beat(database, "inc_a") is None, "being born again under the same id does not clear it"


async def test_a_buried_incarnation_is_forgotten_only_when_nothing_of_it_runs(database):
    inc = await born(database, "inc_a")
    (held,) = await claimed(database, inc, job(1))
    await bury(database, inc, "lost", NOW_US)
    await forget(database, NOW_US + 1)
    await recorded(database, states.lost(held, NOW_US, "lost"))
    await born(database, inc)
    assert await beat(database, inc) is None, "it was still known"
    await forget(database, NOW_US)
    await forget(database, NOW_US + 1)
    await born(database, inc)
    assert await beat(database, inc) == 1, "it had been forgotten"


async def test_own_running_is_what_the_ledger_thinks_this_incarnation_runs(database):
    await born(database, "inc_b")
    inc = await born(database, "inc_a")
    held = await claimed(database, inc, job(1), job(2))
    assert await own_running(database, inc) == held
    assert await own_running(database, inc, limit=1) == held[:1]
    assert await own_running(database, "inc_b") == []
