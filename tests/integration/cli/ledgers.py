"""A healthy ledger that holds a job in every state, and the hand that tampers with it."""

from __future__ import annotations

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Statement
from shared.ledger import states
from shared.ledger.output import Chunk
from shared.ledger.progress import Key, Report
from shared.ledger.states import Failure
from shared.ledger.store_accept import INSERT_TALLY
from shared.ledger.store_dead import cancel_job, discard_jobs, retry_jobs
from shared.ledger.store_output import write_output
from shared.ledger.store_progress import write_progress
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, born, claimed, dispatched, job, recorded

TENANT = "t1"
LATER_US = NOW_US + 3600 * 1_000_000
ID = {
    name: job(number).id
    for number, name in enumerate(
        (
            "completed", "failed_then_completed", "dead", "discarded", "cancelled", "retrying", "retried", "running",
            "purged", "dispatched", "ready",
        ),
        start=1,
    )
}  # fmt: skip
_BOOM = Failure("Boom", "it broke", "f00d")


async def fill(url: str) -> None:
    """One job of each kind, taken there by the ledger's own statements."""
    database = Database(url, pool=2, tx_cap_s=15)
    await database.open()
    try:
        worker = await born(database, "inc_1")
        wanted = [job(number) for number in range(1, 10)]
        held = dict(zip(ID, await claimed(database, worker, *wanted), strict=False))
        ends = [
            states.completed(held[name], NOW_US + 9, started_at=NOW_US, result="{}") for name in ("completed", "purged")
        ]
        ends += [
            states.dead(held[name], NOW_US + 9, _BOOM, started_at=NOW_US) for name in ("dead", "discarded", "retried")
        ]
        ends += [
            states.failed(held[name], NOW_US + 9, _BOOM, started_at=NOW_US, delay_s=delay_s)
            for name, delay_s in (("failed_then_completed", 0.0), ("retrying", 3600.0))
        ]
        ends.append(states.discarded(held["cancelled"], NOW_US + 9, Failure("Discard", "unwanted"), started_at=NOW_US))
        assert set(await recorded(database, *ends)) == {"recorded"}
        await _again(database, worker)
        await discard_jobs(database, TENANT, [ID["discarded"]], NOW_US + 20)
        await retry_jobs(database, TENANT, [ID["retried"]], LATER_US)
        await _purge(database, ID["purged"])
        await accepted(database, job(10))
        await dispatched(database)
        await accepted(database, job(11, run_at=LATER_US))
        waiting = job(12, run_at=LATER_US)
        await accepted(database, waiting)
        await cancel_job(database, TENANT, waiting.id, NOW_US + 30)
        await _written(database, held["running"].key)
    finally:
        await database.close()


async def _again(database: Database, worker: str) -> None:
    from shared.ledger.store_claim import claim

    wanted = ID["failed_then_completed"]
    await dispatched(database, now_us=NOW_US + 10)
    (held,) = await claim(database, [wanted], worker, NOW_US + 11)
    assert await recorded(database, states.completed(held, NOW_US + 12, started_at=NOW_US + 11)) == ["recorded"]


async def _written(database: Database, key: Key) -> None:
    """What a running job has written and reported, and a schedule."""
    async with database.transaction() as connection:
        assert await write_output(connection, [(key, [Chunk(1, 0, "Once ½"), Chunk(2, 6, " upon")])])
    assert await write_progress(database, [(key, Report(0.5, "half", NOW_US + 40))])
    daily = Statement("daily", "INSERT INTO schedule (id, task, cron, time_zone, args, missed, paused)"
                      " VALUES ('daily', 'suite.work', '0 0 * * *', 'UTC', '{}', 'once', FALSE)")  # fmt: skip
    await database.fetch(daily)


async def _purge(database: Database, job_id: str) -> None:
    async with database.transaction() as connection:
        await connection.fetch(Statement("purge", "DELETE FROM job WHERE id = :id"), {"id": job_id})
        await connection.fetch(INSERT_TALLY, {"id": "tly_purged", "accepted": 0, "purged": 1})


async def tamper(url: str, *statements: str) -> None:
    """Run SQL that no part of the product runs. `{name}` is a job's id, `{queue}` the queue."""
    database = Database(url, pool=2, tx_cap_s=15)
    try:
        async with database.engine.begin() as connection:
            for statement in statements:
                done = await connection.execute(text(statement.format(**ID, queue=QUEUE)))
                assert done.rowcount == 1, f"{statement} hit {done.rowcount} rows"
    finally:
        await database.close()
