"""Deep ledgers made by plain SQL: jobs that wait, jobs that have ended under somebody's open snapshot.

The ended ones went through every state in bulk, so each left its dead versions in the table and in the partial
indexes; the snapshot, opened before and held, forbids PostgreSQL to clean any of them away.
"""

from typing import Any

import asyncpg

QUEUE = "lab"
HOUR_US = 3_600_000_000
_INSERT = """
    INSERT INTO job (id, queue, task, args, tenant, priority, lane, run_at, state, due, fence, attempt, max_attempts,
                     crashes, releases, timeout_s, created_at)
    SELECT 'job_' || lpad(CAST($1::bigint + n AS text), 26, '0'), 'lab', 'lab.noop', '{"number":0}',
           'bench' || n % $4::bigint, 5, CASE WHEN $5::bigint > 0 THEN 'lane' || n % $5::bigint END,
           $2::bigint + n, 'ready', TRUE, 0, 0, 8, 0, 0, 60.0, $2::bigint + n
      FROM generate_series(1, $3::bigint) AS n
"""
_PAUSE = """
    INSERT INTO lane (queue, tenant, name, own, burst, ordered, paused_at, tat, updated_at)
    SELECT 'lab', 'bench0', 'lane' || n, FALSE, 1, FALSE, 1, 0, 0 FROM generate_series($1::bigint, $2::bigint) AS n
"""
_STATES = (
    "UPDATE job SET state = 'dispatched', dispatched_at = $1",
    "UPDATE job SET state = 'running', fence = 1, incarnation = 'inc_gone', claimed_at = $1, deadline = $1",
    "UPDATE job SET state = 'completed', incarnation = NULL, deadline = NULL, finished_at = $1",
)


class Bulk:
    """Numbers its jobs, so that they never meet."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._next = 0
        self._holder: Any = None

    async def add(self, count: int, due_us: int, *, tenants: int = 1, lanes: int = 0) -> None:
        """`count` jobs, due one microsecond apart from `due_us`, dealt out to so many tenants and lanes in turn."""
        connection = await asyncpg.connect(self.url)
        await connection.execute(_INSERT, self._next, due_us, count, tenants, lanes)
        await connection.close()
        self._next += count

    async def pause_lanes(self, first: int, last: int) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(_PAUSE, first, last)
        await connection.close()

    async def bury(self, count: int, due_us: int) -> None:
        """`count` ended jobs whose past nobody may clean up."""
        await self.add(count, due_us)
        self._holder = await asyncpg.connect(self.url)
        await self._holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await self._holder.fetch("SELECT count(*) FROM job")
        connection = await asyncpg.connect(self.url)
        for statement in _STATES:
            await connection.execute(statement, due_us)
        await connection.close()

    async def clear(self) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute("TRUNCATE job, job_attempt, job_tally, incarnation, lane")
        await connection.close()

    async def release(self) -> None:
        if self._holder is not None:
            await self._holder.close()
            self._holder = None
