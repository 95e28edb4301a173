"""The inbox: groups of what failed alike, counted within bounds, and which letters a decision means."""

from sqlalchemy import text

from shared.kernel.clock import SECOND_US
from shared.ledger import states, store_inbox
from shared.ledger.states import Failure
from shared.ledger.store_dead import retry_jobs
from shared.ledger.store_inbox import Matching, count_dead, dead_groups, dead_matching
from tests.integration.ledger.jobs import NOW_US, born, claimed, job, recorded, rows


async def die(database, numbers, place, *, task="suite.work", at_us=NOW_US, tenant="t1"):
    """Letters number so and so, dead of `place`, one second after the other."""
    incarnation = await born(database, f"inc_{place}_{task}_{tenant}_{numbers[0]}")
    held = await claimed(database, incarnation, *(job(n, task=task, tenant=tenant) for n in numbers))
    ended = [
        states.dead(claim, at_us + n * SECOND_US, Failure("Boom", f"{place} {n}", place), started_at=NOW_US)
        for n, claim in enumerate(sorted(held, key=lambda claim: claim.id))
    ]
    assert set(await recorded(database, *ended)) == {"recorded"}
    return [job(n).id for n in numbers]


async def test_groups_are_of_a_task_and_a_fingerprint_with_the_error_of_the_latest(database):
    await die(database, range(1, 4), "here")
    await die(database, range(4, 5), "there")
    await die(database, range(5, 7), "here", task="suite.other")
    await die(database, range(7, 9), "here", tenant="t2")
    groups, more = await dead_groups(database, "t1")
    assert [(g["task"], g["fingerprint"], g["count"], g["at_least"]) for g in groups] == [
        ("suite.work", "here", 3, False), ("suite.other", "here", 2, False), ("suite.work", "there", 1, False),
    ]  # fmt: skip
    assert not more
    assert groups[0]["error_message"] == "here 2"
    assert (groups[0]["first_seen"], groups[0]["last_seen"]) == (NOW_US, NOW_US + 2 * SECOND_US)
    assert await dead_groups(database, "t3") == ([], False)
    assert await count_dead(database) == 8


async def test_a_failure_that_nothing_told_apart_has_a_group_too(database):
    ids = await die(database, range(1, 3), "")
    groups, _ = await dead_groups(database, "t1")
    assert [(g["fingerprint"], g["count"]) for g in groups] == [("", 2)]
    async with database.transaction() as connection:
        assert await dead_matching(connection, "t1", Matching(task="suite.work", fingerprint=""), 9) == (ids, False)


async def test_what_is_found_and_counted_is_bounded_and_says_so(database, monkeypatch):
    for number in range(4):
        await die(database, range(10 * number, 10 * number + 1 + 3 * number), f"p{number}")
    monkeypatch.setattr(store_inbox, "LETTERS_MOST", 16)
    groups, more = await dead_groups(database, "t1")
    assert [(g["fingerprint"], g["count"], g["at_least"]) for g in groups] == [
        ("p3", 5, True), ("p2", 5, True), ("p1", 4, False), ("p0", 1, False),
    ]  # fmt: skip
    assert not more
    monkeypatch.setattr(store_inbox, "GROUPS_MOST", 2)
    groups, _ = await dead_groups(database, "t1")
    assert [g["fingerprint"] for g in groups] == ["p1", "p0"]
    monkeypatch.setattr(store_inbox, "GROUPS_LIMIT", 1)
    assert [len(groups) for groups, more in [await dead_groups(database, "t1")] if more] == [1]


async def test_a_decision_means_what_it_names_until_its_instant_and_no_more_than_its_bound(database):
    here = await die(database, range(1, 5), "here")
    there = await die(database, range(5, 7), "there")
    other = await die(database, range(7, 8), "here", task="suite.other")
    await die(database, range(8, 9), "here", tenant="t2")

    async def meant(limit=100, **which):
        async with database.transaction() as connection:
            return await dead_matching(connection, "t1", Matching(**which), limit)

    assert await meant() == ([*here, *there, *other], False)
    assert await meant(task="suite.work") == ([*here, *there], False)
    assert await meant(task="suite.work", fingerprint="here") == (here, False)
    assert await meant(task="suite.work", fingerprint="here", limit=3) == (here[:3], True)
    assert await meant(task="suite.work", fingerprint="here", until_us=NOW_US + SECOND_US) == (here[:2], False)
    assert await meant(queue="other") == ([], False)
    assert await meant(ids=(*there, "job_no", job(8).id)) == (there, False)
    assert await meant(ids=()) == ([], False)
    async with database.transaction() as connection:
        await retry_jobs(connection, "t1", here[:2], NOW_US)
    assert await meant(task="suite.work", fingerprint="here") == (here[2:], False)


async def test_the_index_of_letters_alike_is_what_is_walked(database):
    """Whatever has been purged or retried: the plan must not sort or read the table."""
    await die(database, range(1, 30), "here")
    statement = store_inbox._matches(frozenset({"task", "fingerprint", "until"}))
    values = {"tenant": "t1", "task": "suite.work", "fingerprint": "here", "until": NOW_US, "limit": 5}
    if database.dialect == "sqlite":
        found = await rows(database, f"EXPLAIN QUERY PLAN {statement.text}", **values)
        assert any("ix_job_alike" in str(row) for row in found)
        assert not any("TEMP B-TREE" in str(row) for row in found)
        return
    async with database.engine.connect() as connection:
        await connection.execute(text("SET enable_seqscan = off"))
        plan = list((await connection.execute(text(f"EXPLAIN {statement.text}"), values)).scalars())
    assert any("ix_job_alike" in line for line in plan)
    assert not any("Sort" in line for line in plan), plan
