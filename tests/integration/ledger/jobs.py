"""What the conformance suite says over and over: accept, dispatch, claim, be born, look at a row."""

from sqlalchemy import text

from shared.ledger import store_incarnation
from shared.ledger.store_accept import NewJob, accept
from shared.ledger.store_claim import claim
from shared.ledger.store_record import record
from shared.testing.dispatching import dispatch_due

NOW_US = 1_700_000_000_000_000
QUEUE = "suite"


def job(number=0, **changes):
    values = {
        "id": f"job_{number:026d}", "task": "suite.work", "queue": QUEUE, "args": "{}", "tenant": "t1",
        "max_attempts": 3, "timeout_s": 5.0, "run_at": NOW_US, "created_at": NOW_US,
    }  # fmt: skip
    return NewJob(**(values | changes))


async def accepted(database, *jobs):
    async with database.transaction() as connection:
        await accept(connection, jobs)
    return [one.id for one in jobs]


async def born(database, incarnation):
    await store_incarnation.born(
        database, incarnation, queue=QUEUE, role="worker", host="h", pid=1, capacity=10, now_us=NOW_US
    )
    return incarnation


async def dispatched(database, room=100, now_us=NOW_US):
    """The ids that were picked, in the order in which they are to be published."""
    return await dispatch_due(database, QUEUE, now_us, room)


async def claimed(database, incarnation, *jobs, now_us=NOW_US):
    """Accept, dispatch and claim these jobs for an incarnation that is alive."""
    await accepted(database, *jobs)
    await dispatched(database, now_us=max(now_us, *(one.run_at for one in jobs)))
    return await claim(database, [one.id for one in jobs], incarnation, now_us)


async def recorded(database, *transitions):
    async with database.transaction() as connection:
        return await record(connection, transitions, sqlite=database.dialect == "sqlite")


async def rows(database, query, **values):
    async with database.reader.connect() as connection:
        return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]


async def row(database, job_id):
    found = await rows(database, "SELECT * FROM job WHERE id = :id", id=job_id)
    return found[0]
