"""A rolling deploy by real processes: an earlier worker beside the new schema and new messages, then its successor."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from shared.testing.lab import Fail, Noop, Sleep
from tests.faults.rig import Rig

RELEASED = text("SELECT count(*) FROM job WHERE task <> 'lab.noop' AND releases > 0")
PATIENCE = {"HOLDFAST_UNKNOWN_TASK_PATIENCE_S": "60"}


async def test_what_the_earlier_worker_does_not_know_waits_for_its_successor(rig: Rig) -> None:
    async with rig.database.begin() as connection:  # the schema of a later release, which leaves this code working
        await connection.execute(text("UPDATE ledger_version SET version_num = '0099'"))
        await connection.execute(text("UPDATE ledger_floor SET version_num = '0099', oldest_code = 2"))
    rig.relay()
    earlier = rig.worker_of("tests.faults.earlier_tasks:create_broker", "earlier", state="state-earlier", **PATIENCE)
    await rig.until_workers(1)
    await rig.enqueue(*(Noop(number=n) for n in range(50)), *(Sleep(seconds=0.01) for _ in range(20)), Fail())
    await rig.until_ended(50)
    await rig.until(RELEASED, 21, "jobs given back")
    assert await rig.rows("SELECT id FROM job WHERE task <> 'lab.noop' AND (attempt > 0 OR state = 'dead')") == []
    rig.worker("later", state="state-later", **PATIENCE)  # maxSurge: the new one first,
    await rig.until_workers(2)
    rig.supervisor.roles.remove(earlier)
    earlier.process.terminate()  # then the old one drains, and nobody starts it again
    assert await asyncio.to_thread(earlier.process.wait, 20) == 0
    await rig.enqueue(*(Noop(number=n) for n in range(50)), *(Sleep(seconds=0.01) for _ in range(10)))
    assert await rig.settled() == {"completed": 131}
    spent = await rig.rows("SELECT max(attempt) AS most FROM job WHERE task = 'lab.sleep'")
    assert spent[0].most == 1, "nothing was spent on those who did not know"
