"""Rescue: what the tombstoned held and what is past its deadline, each taken back once and for the right reason."""

import asyncio
from typing import ClassVar

import pytest

from shared.contracts.command import Command
from shared.contracts.retry import Schedule
from shared.kernel.clock import SECOND_US, ManualClock
from shared.ledger import rescue as rescue_module
from shared.ledger.rescue import rescue
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import bury
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, born, claimed, dispatched, job, row, rows


class Work(Command):
    task: ClassVar[str] = "suite.work"
    queue: ClassVar[str] = QUEUE
    retry: ClassVar = Schedule(delays_s=(3.0, 9.0))


COMMANDS = {"suite.work": Work}


@pytest.fixture
def clock(database):
    database.clock = ManualClock(NOW_US)
    return database.clock


async def test_nothing_to_rescue(database, clock):
    await claimed(database, await born(database, "inc_a"), job(1))
    assert len(await rescue(database, COMMANDS)) == 0


async def test_a_proven_crash_is_remembered_against_the_job(database, clock):
    inc = await born(database, "inc_a")
    await claimed(database, inc, job(1), job(2))
    await bury(database, inc, "crash: its slot was found free", NOW_US)
    rescued = await rescue(database, COMMANDS)
    assert (rescued.reasons, rescued.queues) == ({"crashed": 2}, {QUEUE})
    stored = await row(database, job(1).id)
    assert (stored["state"], stored["crashes"], stored["attempt"], stored["releases"]) == ("ready", 1, 0, 0)
    (attempt,) = await rows(database, "SELECT * FROM job_attempt WHERE job_id = :id", id=job(1).id)
    assert (attempt["outcome"], attempt["error_message"]) == ("crashed", "crash: its slot was found free")


async def test_a_lost_lease_blames_nobody(database, clock):
    inc = await born(database, "inc_a")
    await claimed(database, inc, job(1))
    await bury(database, inc, "lost: no beat for 15.0 s", NOW_US)
    assert (await rescue(database, COMMANDS)).reasons == {"lost": 1}
    stored = await row(database, job(1).id)
    assert (stored["state"], stored["crashes"], stored["attempt"], stored["releases"]) == ("ready", 0, 0, 1)


async def test_crashes_alone_end_as_poison(database, clock):
    await accepted(database, job(1))
    for number in range(4):
        inc = await born(database, f"inc_{number}")
        await dispatched(database)
        (held,) = await claim(database, [job(1).id], inc, NOW_US)
        assert held.suspect == (number >= 2)
        await bury(database, inc, "crash: signal 9", NOW_US)
        await rescue(database, COMMANDS)
    stored = await row(database, job(1).id)
    assert (stored["state"], stored["error_type"], stored["crashes"]) == ("dead", "poison", 4)
    assert "signal 9" in stored["error_message"]


async def test_two_rescuers_take_a_job_back_once(database, clock):
    inc = await born(database, "inc_a")
    await claimed(database, inc, *(job(number) for number in range(30)))
    await bury(database, inc, "lost", NOW_US)
    found = await asyncio.gather(rescue(database, COMMANDS), rescue(database, COMMANDS))
    assert sum(len(one) for one in found) == 30
    assert {one["releases"] for one in await rows(database, "SELECT releases FROM job")} == {1}


async def test_more_than_a_batch_is_taken_back_in_several(database, clock, monkeypatch):
    monkeypatch.setattr(rescue_module, "BATCH", 7)
    inc = await born(database, "inc_a")
    await claimed(database, inc, *(job(number) for number in range(30)))
    await bury(database, inc, "lost", NOW_US)
    assert len(await rescue(database, COMMANDS)) == 30


async def test_an_overdue_attempt_is_spent_and_retried_by_the_commands_policy(database, clock):
    inc = await born(database, "inc_a")
    await claimed(database, inc, job(1, timeout_s=1.0), job(2, timeout_s=90.0), job(3, timeout_s=1.0, max_attempts=1))
    clock.advance(11.0)
    assert len(await rescue(database, COMMANDS)) == 0, "at the deadline it is not yet past it"
    clock.advance(0.001)
    assert (await rescue(database, COMMANDS)).reasons == {"timed_out": 2}
    stored = await row(database, job(1).id)
    assert (stored["state"], stored["attempt"], stored["run_at"]) == ("ready", 1, clock.now_us() + 3 * SECOND_US)
    assert (await row(database, job(2).id))["state"] == "running"
    last = await row(database, job(3).id)
    assert (last["state"], last["error_type"]) == ("dead", "DeadlineExceeded")


async def test_a_relay_whose_clock_is_ahead_ends_nothing_that_still_has_time(database, clock):
    """Dispatched by its clock, claimed by a worker's, which is right."""
    inc = await born(database, "inc_a")
    await accepted(database, job(1, timeout_s=60.0, max_attempts=1))
    clock.advance(75.0)
    await dispatched(database, now_us=clock.now_us())
    await claim(database, [job(1).id], inc, NOW_US)
    assert len(await rescue(database, COMMANDS)) == 0
    clock.advance(60.0)
    assert len(await rescue(database, COMMANDS)) == 0, "its deadline is ten seconds after its time"
    clock.advance(10.001)
    assert (await rescue(database, COMMANDS)).reasons == {"timed_out": 1}


async def test_the_dead_are_rescued_and_not_also_timed_out(database, clock):
    inc = await born(database, "inc_a")
    await claimed(database, inc, job(1, timeout_s=1.0))
    await bury(database, inc, "lost", NOW_US)
    clock.advance(60)
    assert (await rescue(database, COMMANDS)).reasons == {"lost": 1}


async def test_a_cancelled_job_is_not_run_again_by_a_rescue(database, clock):
    inc = await born(database, "inc_a")
    await claimed(database, inc, job(1), job(2))
    async with database.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE job SET cancel_requested_at = {NOW_US}")
    await bury(database, inc, "lost", NOW_US)
    await rescue(database, COMMANDS)
    assert {one["state"] for one in await rows(database, "SELECT state FROM job")} == {"cancelled"}
