"""The backlog of a queue stays cheap however much waits: what is looked at is bounded, and the number a lower bound."""

from __future__ import annotations

import os
import time

from sqlalchemy import text

from shared.ledger.store_backlog import COUNT_MOST, read_backlog
from tests.integration.ledger.jobs import NOW_US, QUEUE, accepted, born, claimed, job, rows

# How many wait beside the few: HOLDFAST_TEST_WAITING=1000000 shows what a look costs then.
WAITING = int(os.environ.get("HOLDFAST_TEST_WAITING", str(COUNT_MOST + 5_000)))


async def _multiplied(database, job_id, count):
    """Copies of a job, made where they lie: accepting so many would take minutes."""
    columns = [key for key in (await rows(database, "SELECT * FROM job WHERE id = :id", id=job_id))[0] if key != "id"]
    numbers, number = "generate_series(1, CAST(:count AS integer)) AS n(i)", "lpad(n.i::text, 20, '0')"
    if database.dialect == "sqlite":
        numbers = "(WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < :count) SELECT i FROM c) n"
        number = "printf('%020d', n.i)"
    given = ", ".join(f"j.{name}" for name in columns)
    statement = f"""
        INSERT INTO job (id, {", ".join(columns)})
        SELECT 'job_copies' || {number}, {given} FROM job AS j, {numbers} WHERE j.id = :id
    """
    async with database.begin() as connection:
        await connection.execute(text(statement.replace("::text", "\\:\\:text")), {"count": count, "id": job_id})


async def test_a_look_at_a_long_line_is_bounded(database):
    worker = await born(database, "inc_00000000000000000000000001")
    await claimed(database, worker, job(1), job(2))
    [waiting] = await accepted(database, job(3))
    assert (await read_backlog(database, QUEUE, NOW_US)).backlog == 3
    await _multiplied(database, waiting, WAITING)
    started_s = time.perf_counter()
    found = await read_backlog(database, QUEUE, NOW_US)
    took_ms = 1000 * (time.perf_counter() - started_s)
    print(f"{database.dialect}: {WAITING:,} waiting, {took_ms:.1f} ms")
    assert found.backlog == COUNT_MOST + 2, "running ones count, and of those that wait no more than the bound"
    assert found.oldest == NOW_US
