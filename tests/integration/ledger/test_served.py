"""What workers say of their tasks: the last word counts, and it is what a rescue goes by where there is no class."""

from typing import ClassVar

import pytest

from shared.contracts.command import Command
from shared.contracts.retry import Exponential, Schedule
from shared.db.sql import Statement
from shared.kernel.clock import SECOND_US, ManualClock
from shared.ledger.rescue import rescue
from shared.ledger.store_served import serve_tasks, served_tasks
from tests.integration.ledger.jobs import NOW_US, QUEUE, born, claimed, job, row


class Work(Command):
    task: ClassVar[str] = "suite.work"
    queue: ClassVar[str] = QUEUE
    retry: ClassVar = Schedule(delays_s=(3.0, 9.0))
    number: int


class Other(Work):
    task: ClassVar[str] = "suite.other"
    retry: ClassVar = Exponential(base_s=2.0)


_NEWER = Statement("newer", "UPDATE served_task SET retry = :retry WHERE task = 'suite.work'")


async def test_the_worker_that_began_last_is_right(database):
    class Later(Work):
        retry: ClassVar = Schedule(delays_s=(5.0,))
        word: str = "x"

    await serve_tasks(database, [Work, Other], NOW_US)
    await serve_tasks(database, [Later], NOW_US + 1)
    await serve_tasks(database, [], NOW_US + 2)
    found = await served_tasks(database, ["suite.work", "suite.other", "suite.nobody"])
    assert sorted(found) == ["suite.other", "suite.work"]
    assert set(found["suite.work"].args_schema["properties"]) == {"number", "word"}
    assert (found["suite.work"].retry, found["suite.other"].retry) == (Later.retry, Other.retry)
    assert await served_tasks(database, []) == {}


async def test_what_newer_code_has_written_is_left_out_and_stops_nobody(database):
    await serve_tasks(database, [Work, Other], NOW_US)
    async with database.transaction() as connection:
        await connection.fetch(_NEWER, {"retry": '{"kind": "of next year"}'})
    assert sorted(await served_tasks(database, ["suite.work", "suite.other"])) == ["suite.other"]


@pytest.mark.parametrize("served", [True, False])
async def test_an_overdue_job_of_a_task_without_a_class_waits_as_its_worker_said(database, served):
    """And as a command that says nothing, when no worker has ever said anything: not longer."""
    database.clock = clock = ManualClock(NOW_US)
    if served:
        await serve_tasks(database, [Work], NOW_US)
    await claimed(database, await born(database, "inc_a"), job(1, timeout_s=1.0))
    clock.advance(11.001)
    assert (await rescue(database, {})).reasons == {"timed_out": 1}
    waits_us = (await row(database, job(1).id))["run_at"] - clock.now_us()
    assert waits_us == 3 * SECOND_US if served else 0 <= waits_us <= Command.retry.base_s * SECOND_US
