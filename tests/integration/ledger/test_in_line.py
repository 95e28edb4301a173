"""How many wait in line, counted in one queue, in some flows, and by priority and lane: bounded, on both databases."""

from shared.ledger.store_backlog import count_in_flows, count_in_line, read_waiting
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, dispatched, job


async def fill(database):
    await accepted(
        database, *(job(n, lane="image", priority=3) for n in range(4)),
        *(job(10 + n, lane="image", priority=6, tenant="t2") for n in range(5)),
        *(job(20 + n, lane="video", priority=3, tenant="t2") for n in range(2)), job(30), job(31, tenant="t"),
        job(40, run_at=NOW_US + 1), job(41, waits_for=1), job(50, queue="other", lane="image", priority=3),
    )  # fmt: skip


async def test_what_is_due_and_ready_is_counted_up_to_the_bound(database):
    assert await count_in_line(database, QUEUE, 100) == 0
    await fill(database)
    assert await count_in_line(database, QUEUE, 100) == 4 + 5 + 2 + 2
    assert await count_in_line(database, QUEUE, 7) == 7
    assert len(await dispatched(database, room=3)) == 3
    assert await count_in_line(database, QUEUE, 100) == 10


async def test_flows_are_counted_one_by_one(database):
    await fill(database)
    assert await count_in_flows(database, QUEUE, ["3/t1/image"], 100) == 4
    assert await count_in_flows(database, QUEUE, ["3/t2/image", "6/t2/image", "3/t2/video"], 100) == 7
    assert await count_in_flows(database, QUEUE, ["6/t2/image", "3/t2/video"], 3) == 3 + 2
    assert await count_in_flows(database, QUEUE, ["3/t/image", "3/nobody/image"], 100) == 0


async def test_what_waits_is_summed_over_tenants(database):
    await fill(database)
    found = await read_waiting(database, QUEUE)
    assert found == {(3, "image"): 4, (6, "image"): 5, (3, "video"): 2, (5, ""): 2}
    assert await read_waiting(database, "nothing") == {}
