"""The relay killed while it makes the job of a tick: inside the transaction, and right after it."""

import asyncio

import pytest
from sqlalchemy import text

from shared.db.sql import Statement
from shared.kernel.clock import SECOND_US
from shared.ledger.audit import audit
from shared.testing.lab import Noop, Sleep
from tests.faults.lanes import ATTEMPTS, overfull
from tests.faults.rig import Rig

PURGE = "upkeep.purge_history"
_GONE_ON = text(
    f"SELECT count(*) FROM schedule WHERE id = '{PURGE}' AND next_at > (SELECT max(tick_at) FROM cron_tick) + 1000000"
)
_QUIET = Statement("quiet", "UPDATE schedule SET paused = TRUE, next_at = NULL WHERE id <> 'upkeep.purge_history'")
_DUE_SOON = Statement("due_soon", "UPDATE schedule SET next_at = :at WHERE id = 'upkeep.purge_history' RETURNING id")


async def due_soon(rig: Rig) -> int:
    """The relay has written its schedule; its next tick is moved to half a second from now."""
    while True:
        at_us = rig.database.clock.now_us() + SECOND_US // 2
        if await rig.database.fetch(_DUE_SOON, {"at": at_us}):
            await rig.database.fetch(_QUIET)  # the queue's other schedules
            return at_us
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(("point", "left"), [("cron.ticked", 0), ("cron.committed", 1)])
async def test_a_relay_killed_at_its_tick_makes_one_job(rig: Rig, point: str, left: int) -> None:
    doomed = rig.relay("doomed", HOLDFAST_QUEUES="api", HOLDFAST_FAULT_POINTS=f"{point}=1@{rig.folder}/once")
    async with asyncio.timeout(30):
        tick_us = await due_soon(rig)
    assert doomed.process is not None
    await asyncio.to_thread(doomed.process.wait, 30)
    rig.supervisor.roles.remove(doomed)
    assert len(await rig.rows("SELECT id FROM job")) == left
    assert len(await rig.rows("SELECT tick_at FROM cron_tick")) == left
    for name in ("heir", "standby"):
        rig.relay(name, HOLDFAST_QUEUES="api")
    await rig.until(_GONE_ON, 1, "schedule with a next tick")
    async with asyncio.timeout(10):
        while not (rig.logged("heir", "relay_active") or rig.logged("standby", "relay_active")):  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.2)  # a ticker that is active looks every second
    jobs = await rig.rows("SELECT id, run_at FROM job")
    assert [(job.id, job.run_at) for job in jobs] == [(jobs[0].id, tick_us)]
    ticks = await rig.rows("SELECT schedule_id, tick_at, job_id FROM cron_tick")
    assert [tuple(tick) for tick in ticks] == [(PURGE, tick_us, jobs[0].id)]
    assert (await audit(rig.database)).accepted == 1


_LAB_ENDED = text("SELECT count(*) FROM job WHERE queue = 'lab' AND state IN ('completed', 'dead', 'cancelled')")
_TICKED = text(f"SELECT count(*) FROM cron_tick WHERE schedule_id = '{PURGE}' AND job_id IS NOT NULL")


async def test_ticks_go_on_under_load_while_everything_is_killed(rig: Rig) -> None:
    """A schedule, lanes and ordinary work at once; the relay, the worker and Redis lose all they had, in turn."""
    rig.relay(HOLDFAST_QUEUES="lab,api")
    rig.worker(processes=2)
    ticks = []
    async with asyncio.timeout(120):
        for number in range(6):
            ticks.append(await due_soon(rig))
            await rig.enqueue(*(Sleep(seconds=0.05) for _ in range(40)), *(Noop(number=n) for n in range(40)))
            if number % 3 == 0:
                rig.kill([role.process.pid for role in rig.supervisor.roles if role.name == "relay" and role.process])
            elif number % 3 == 1:
                rig.kill(rig.active())
            else:
                await rig.resources.redis.flushall()
            await rig.until(_TICKED, number + 1, "ticks")
    await rig.until(_LAB_ENDED, len(rig.accepted), "ended jobs")
    report = await audit(rig.database)
    assert report.ok, report.report()
    assert overfull(await rig.rows(ATTEMPTS)) == []
    made = await rig.rows(f"SELECT tick_at, job_id FROM cron_tick WHERE schedule_id = '{PURGE}' ORDER BY tick_at")
    assert [tick.tick_at for tick in made] == ticks
    jobs = await rig.rows(f"SELECT id FROM job WHERE task = '{PURGE}' ORDER BY id")
    assert sorted(tick.job_id for tick in made) == [job.id for job in jobs], "a job for each tick, and no other"
