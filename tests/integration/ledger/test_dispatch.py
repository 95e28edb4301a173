"""Dispatch: what is due, in order of priority, and back to ready only under the dispatch that was seen."""

from shared.ledger.store_claim import claim
from shared.ledger.store_dispatch import dispatched as window
from shared.ledger.store_dispatch import undispatch
from shared.ledger.store_line import next_due
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, born, dispatched, job, row


async def test_priority_goes_before_run_at_and_run_at_before_id(database):
    await accepted(
        database,
        job(1, priority=5, run_at=NOW_US - 10),
        job(2, priority=0, run_at=NOW_US - 1),
        job(3, priority=5, run_at=NOW_US - 20),
        job(4, priority=9, run_at=NOW_US - 900),
        job(5, priority=0, run_at=NOW_US - 1),
    )
    order = [int(job_id[4:]) for job_id in await dispatched(database)]
    assert order == [2, 5, 3, 1, 4]


async def test_a_small_room_takes_the_most_urgent_only(database):
    await accepted(database, *(job(number, priority=number % 10) for number in range(30)))
    assert [int(one[4:]) for one in await dispatched(database, room=4)] == [0, 10, 20, 1]
    assert [int(one[4:]) for one in await dispatched(database, room=2)] == [11, 21]


async def test_only_due_jobs_of_the_queue_are_taken_and_only_once(database):
    await accepted(database, job(1), job(2, run_at=NOW_US + 1), job(3, queue="other"))
    assert await dispatched(database) == [job(1).id]
    assert await dispatched(database) == []
    assert (await row(database, job(1).id))["dispatched_at"] == NOW_US
    assert await dispatched(database, now_us=NOW_US + 1) == [job(2).id]


async def test_next_due_is_the_earliest_still_to_come(database):
    assert await next_due(database, QUEUE, 0) is None
    await accepted(database, job(1), job(2, run_at=NOW_US + 900, priority=0), job(3, run_at=NOW_US + 70, priority=9))
    assert await next_due(database, QUEUE, 0) == NOW_US + 70
    assert await dispatched(database, now_us=NOW_US + 70) == [job(1).id, job(3).id]
    assert await next_due(database, QUEUE, 0) == NOW_US + 900
    assert await next_due(database, "other", 0) is None


async def test_undispatch_returns_what_was_seen_and_nothing_dispatched_since(database):
    await accepted(database, job(1), job(2))
    await dispatched(database)
    assert await undispatch(database, [job(1).id, job(2).id], NOW_US - 1) == []
    assert [one["id"] for one in await undispatch(database, [job(1).id], NOW_US)] == [job(1).id]
    stored = await row(database, job(1).id)
    assert (stored["state"], stored["dispatched_at"]) == ("ready", None)
    assert await dispatched(database, now_us=NOW_US + 50) == [job(1).id]
    assert await undispatch(database, [job(1).id], NOW_US) == [], "an older look must not undo a newer dispatch"


async def test_undispatch_leaves_running_jobs_alone(database):
    await accepted(database, job(1))
    await dispatched(database)
    await claim(database, [job(1).id], await born(database, "inc_a"), NOW_US)
    assert await undispatch(database, [job(1).id], NOW_US) == []
    assert await undispatch(database, [], NOW_US) == []
    assert (await row(database, job(1).id))["state"] == "running"


async def test_the_window_lists_what_is_dispatched(database):
    await accepted(database, job(1), job(2), job(3, run_at=NOW_US + 1))
    await dispatched(database)
    assert [(one["id"], one["dispatched_at"]) for one in await window(database, QUEUE, 10)] == [
        (job(1).id, NOW_US),
        (job(2).id, NOW_US),
    ]
    assert len(await window(database, QUEUE, 1)) == 1
