"""Lanes and pauses in the ledger, the same on both databases: limits, heads, counts, and what they hold back."""

import pytest

from shared.contracts.lane import RATE_LEAST, LanePolicy
from shared.db.reading import looking
from shared.kernel.clock import SECOND_US, rfc3339
from shared.kernel.errors import BadInput
from shared.ledger import store_limits as limits
from shared.ledger import store_pause as pauses
from shared.ledger.holds import waiting_for
from shared.ledger.store_accept import new_job
from shared.ledger.store_backlog import read_backlog
from shared.ledger.store_claim import claim
from shared.ledger.store_dispatch import dispatched_in_standing_lanes
from shared.ledger.store_lane import bound, lanes, own_policy, spend
from shared.ledger.store_waiting import read_facts
from shared.testing.lab import Noop
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, born, dispatched, job, row, rows

ODD = ["a b", "é", "z%2F", "日本", "x" * 200]


async def why(database, number):
    return waiting_for(await read_facts(database, await row(database, job(number).id), NOW_US))


async def put(database, name="x", **policy):
    await limits.put_limits(database, QUEUE, "t1", name, LanePolicy(**policy), NOW_US)


async def under_way(database, *numbers):
    """Claimed by somebody alive."""
    return await claim(database, [job(number).id for number in numbers], await born(database, "inc_a"), NOW_US)


async def test_a_queue_is_paused_once_and_resumed(database):
    assert await pauses.queue_pauses(database) == {}
    assert await pauses.pause_queue(database, QUEUE, "key_1", NOW_US) == NOW_US
    assert await pauses.pause_queue(database, QUEUE, "key_2", NOW_US + 9) == NOW_US
    assert await pauses.queue_pauses(database) == {QUEUE: NOW_US}
    assert await pauses.resume_queue(database, QUEUE)
    assert not await pauses.resume_queue(database, QUEUE)
    assert await pauses.queue_pauses(database) == {}


async def test_limits_are_set_replaced_and_given_back(database):
    assert not await limits.clear_limits(database, QUEUE, "t1", "x", NOW_US)
    await put(database, concurrency=3, rate_per_s=2.5, burst=4)
    await spend(database, QUEUE, [(("t1", "x"), NOW_US + 77)], NOW_US)
    await put(database, ordered=True)
    (found,) = await lanes(database, QUEUE, [("t1", "x"), ("t2", "x")])
    assert own_policy(found) == LanePolicy(ordered=True)
    assert found["tat"] == NOW_US + 77, "the bucket is the relay's"
    await limits.pause_lane(database, QUEUE, "t1", "x", NOW_US)
    await limits.pause_lane(database, QUEUE, "t1", "x", NOW_US + 5)
    assert await limits.clear_limits(database, QUEUE, "t1", "x", NOW_US)
    (found,) = await lanes(database, QUEUE, [("t1", "x")])
    assert (own_policy(found), found["paused_at"]) == (None, NOW_US)
    assert await limits.told_lanes(database, QUEUE, "t1") == 1
    await limits.resume_lane(database, QUEUE, "t1", "x")
    assert await limits.told_lanes(database, QUEUE, "t1") == 0


async def test_lanes_are_listed_by_name_those_with_rows_and_those_with_jobs(database):
    await accepted(database, *(job(n, lane=name) for n, name in enumerate(ODD)), job(50, lane="q", tenant="t2"))
    await accepted(database, *(job(60 + n, lane="q", run_at=NOW_US + 9) for n in range(3)), job(70))
    for name in ("b", "é", "zz"):
        await put(database, name, concurrency=1)
    await spend(database, QUEUE, [(("t1", "only a bucket"), 5)], NOW_US)
    everything = sorted({*ODD, "q", "b", "zz"})
    async with looking(database) as connection:
        assert await limits.lane_names(connection, QUEUE, "t1", "", 100) == everything
        seen, after = [], ""
        while part := await limits.lane_names(connection, QUEUE, "t1", after, 2):
            seen, after = seen + part, part[-1]
        assert seen == everything
        counted = await limits.waiting_in(connection, QUEUE, "t1", ["q", "é", "none"])
    assert {name: found["waiting"] for name, found in counted.items()} == {"q": 3, "é": 1, "none": 0}


async def test_counts_are_bounded_and_know_who_is_under_way(database, monkeypatch):
    await accepted(database, *(job(n, lane="x") for n in range(1_010)), job(2_000, lane="x", tenant="t2"))
    marked = await dispatched(database, room=20)
    claims = await claim(database, marked[:5], await born(database, "inc_a"), NOW_US)
    assert len(claims) == 5
    async with looking(database) as connection:
        mine = sum(1 for one in marked if one != job(2_000).id)
        assert await limits.under_way_in(connection, QUEUE, "t1") == {"x": mine}
        found = await limits.waiting_in(connection, QUEUE, "t1", ["x"])
    assert found["x"]["waiting"] == limits.COUNT_MOST + 1 - mine
    assert found["x"]["task"] == "suite.work"


async def test_what_is_dispatched_in_standing_lanes_is_found(database):
    await accepted(
        database, job(1, lane="x"), job(2, lane="y"), job(3), job(4, lane="x", tenant="t2"), job(5, lane="x:a")
    )
    await dispatched(database)
    await limits.pause_lane(database, QUEUE, "t1", "x", NOW_US)
    assert await dispatched_in_standing_lanes(database, QUEUE, NOW_US, 10) == [job(1).id, job(5).id]


async def test_what_a_service_holds_a_lane_to_is_apart_from_what_people_set(database):
    await put(database, concurrency=3)
    await bound(database, QUEUE, [(("t1", "x"), NOW_US + 9, "circuit_open", 2), (("t1", "z"), 0, None, 1)], NOW_US)
    x, z = sorted(await lanes(database, QUEUE, [("t1", "x"), ("t1", "z")]), key=lambda row: row["name"])
    assert (own_policy(x), x["held_until"], x["held_why"], x["ceiling"]) == (
        LanePolicy(concurrency=3), NOW_US + 9, "circuit_open", 2,
    )  # fmt: skip
    assert (own_policy(z), z["held_until"], z["ceiling"]) == (None, 0, 1)
    await limits.clear_limits(database, QUEUE, "t1", "x", NOW_US)
    await bound(database, QUEUE, [(("t1", "x"), 0, None, None)], NOW_US)
    (x,) = await lanes(database, QUEUE, [("t1", "x")])
    assert (x["held_until"], x["held_why"], x["ceiling"]) == (0, None, None)


async def test_what_is_dispatched_in_held_lanes_and_in_those_that_stand_in_them_is_found(database):
    await accepted(database, job(1, lane="x"), job(2, lane="x:a"), job(3, lane="xx:a"), job(4, lane="y"), job(5))
    await dispatched(database)
    await bound(database, QUEUE, [(("t1", "x"), NOW_US + 9, "circuit_open", None)], NOW_US)
    assert await dispatched_in_standing_lanes(database, QUEUE, NOW_US, 10) == [job(1).id, job(2).id]
    assert await dispatched_in_standing_lanes(database, QUEUE, NOW_US + 9, 10) == []


async def test_why_a_job_waits(database):
    await accepted(
        database, job(1), job(2, run_at=NOW_US + 9), job(3, waits_for=2), job(4, lane="x"), job(5, lane="x"), job(6)
    )
    assert await why(database, 1) == {"kind": "no_worker"}
    await born(database, "inc_a")
    assert await why(database, 2) == {"kind": "future", "until": NOW_US + 9}
    assert await why(database, 3) == {"kind": "children", "left": 2}
    assert await why(database, 6) == {"kind": "line", "behind": 1}
    assert await why(database, 4) == {"kind": "line", "behind": 0}
    await put(database, ordered=True)
    assert await why(database, 4) == {"kind": "line", "behind": 0}
    assert await why(database, 5) == {"kind": "ordered", "behind": job(4).id}
    assert sorted(await dispatched(database)) == [job(1).id, job(4).id, job(6).id]
    assert await why(database, 1) == {"kind": "window"}
    await put(database, concurrency=1)
    assert await why(database, 5) == {"kind": "lane", "lane": "x", "under_way": 1, "limit": 1}
    await under_way(database, 4)
    assert await why(database, 4) is None
    assert await why(database, 5) == {"kind": "lane", "lane": "x", "under_way": 1, "limit": 1}
    await put(database, rate_per_s=1.0)
    await spend(database, QUEUE, [(("t1", "x"), NOW_US + SECOND_US)], NOW_US)
    assert await why(database, 5) == {"kind": "rate", "lane": "x", "next_at": NOW_US + SECOND_US}
    await limits.pause_lane(database, QUEUE, "t1", "x", NOW_US)
    assert await why(database, 5) == {"kind": "paused", "what": "lane", "since": NOW_US}
    await pauses.pause_queue(database, QUEUE, "key_1", NOW_US + 1)
    assert await why(database, 1) == {"kind": "paused", "what": "queue", "since": NOW_US + 1}


async def test_the_backlog_is_what_could_run(database):
    await accepted(
        database, *(job(n) for n in range(3)), job(10, run_at=NOW_US + 1), job(11, waits_for=1),
        *(job(20 + n, lane="full", run_at=NOW_US - 50) for n in range(5)),
        *(job(30 + n, lane="paused") for n in range(4)),
        *(job(40 + n, lane="rate") for n in range(4)), *(job(50 + n, lane="free", tenant="t2") for n in range(6)),
        *(job(60 + n, lane="ordered") for n in range(3)),
    )  # fmt: skip
    await put(database, "full", concurrency=2)
    await put(database, "rate", rate_per_s=1.0, burst=3)
    await put(database, "ordered", ordered=True)
    await limits.pause_lane(database, QUEUE, "t1", "paused", NOW_US)
    found = await read_backlog(database, QUEUE, NOW_US)
    assert found.backlog == 3 + 2 + 0 + 3 + 6 + 1
    assert (found.oldest, found.paused_at) == (NOW_US - 50, None)
    marked = await dispatched(database)
    assert len(marked) == found.backlog, "what the relay could dispatch is what was counted"
    again = await read_backlog(database, QUEUE, NOW_US)
    assert again.backlog == found.backlog
    await under_way(database, 20, 0)
    await pauses.pause_queue(database, QUEUE, "key_1", NOW_US)
    paused = await read_backlog(database, QUEUE, NOW_US)
    assert (paused.backlog, paused.oldest, paused.paused_at) == (2, NOW_US - 50, NOW_US)
    assert (await read_backlog(database, "other", NOW_US)).backlog == 0


async def test_the_room_of_a_group_is_counted_once(database):
    """Many lanes in one group are no more work than the group lets through."""
    await accepted(database, *(job(n, task="webhooks.deliver", lane=f"ep:{n}") for n in range(9)))
    await put(database, "ep", concurrency=2, ordered=True)
    found = await read_backlog(database, QUEUE, NOW_US)
    assert found.backlog == 2
    assert len(await dispatched(database)) == found.backlog


@pytest.mark.parametrize(
    ("changes", "pointer"), [({"lane": "a/b"}, "/lane"), ({"lane": ""}, "/lane"), ({"tenant": "a/b"}, "/tenant")]
)
def test_names_that_would_part_a_flow_are_refused(changes, pointer):
    with pytest.raises(BadInput) as refused:
        new_job(Noop(), **{"tenant": "t", "now_us": NOW_US, **changes})
    assert refused.value.details["pointer"] == pointer


async def test_an_odd_name_is_a_lane_like_any_other(database):
    await accepted(database, *(job(n, lane=name) for n, name in enumerate(ODD)))
    for name in ODD:
        await put(database, name, concurrency=1)
    assert len(await dispatched(database)) == len(ODD)
    stored = await rows(database, "SELECT lane FROM job ORDER BY lane")
    assert [one["lane"] for one in stored] == sorted(ODD)


def test_the_slowest_rate_has_an_instant_for_its_next_token():
    """Also of a row that says a slower one: the relay reads it, whoever wrote it."""
    row = {"own": True, "concurrency": None, "rate_per_s": 5e-324, "burst": 100_000, "ordered": False}
    policy = own_policy(row)
    assert policy.rate_per_s == RATE_LEAST
    ahead = policy.bounded(2**62, NOW_US)
    assert ahead + policy.interval_us < 2**63
    assert rfc3339(policy.opens_at(ahead)) is not None
