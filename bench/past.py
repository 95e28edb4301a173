"""Past work made by plain SQL: jobs and attempts whose ids and instants are as old as they say.

An id is that of its instant (its first ten digits are the milliseconds), so rows of every table lie as they would have
been written: the oldest first, what is new at the right edge of each index.
"""

from typing import Any

import asyncpg

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_AT = "($1::bigint + n * $2::bigint)"  # microseconds
_ID = "'job_' || " + " || ".join(
    f"substr('{_DIGITS}', 1 + CAST((({_AT} / 1000) >> {shift}) & 31 AS int), 1)" for shift in range(45, -1, -5)
) + " || lpad(CAST(n AS text), 16, '0')"  # fmt: skip
_JOBS = f"""
    INSERT INTO job (id, queue, task, args, tenant, priority, run_at, state, due, fence, attempt, max_attempts, crashes,
                     releases, timeout_s, created_at, dispatched_at, claimed_at, finished_at)
    SELECT {_ID}, 'lab', 'lab.noop', '{{"number":0}}', 'bench', 5, {_AT}, %s
      FROM generate_series(1, $3::bigint) AS n
"""
_ENDED = f"'completed', FALSE, 1, 1, 8, 0, 0, 60.0, {_AT}, {_AT} + 2000, {_AT} + 4000, {_AT} + 9000"
_WAITING = f"'ready', TRUE, 0, 0, 8, 0, 0, 60.0, {_AT}, NULL, NULL, NULL"
_ATTEMPTS = f"""
    INSERT INTO job_attempt (job_id, fence, incarnation, started_at, finished_at, outcome)
    SELECT {_ID}, 1, 'inc_01kg65ddk0e6xb1fhk61mnzvw7', {_AT} + 4000, {_AT} + 9000, 'completed'
      FROM generate_series(1, $3::bigint) AS n
"""
_SIZES = """
    SELECT relname, pg_table_size(oid) AS heap, pg_indexes_size(oid) AS indexes, reltuples FROM pg_class
     WHERE relname IN ('job', 'job_attempt')
"""


class Past:
    def __init__(self, url: str) -> None:
        self._url = url

    async def ended(self, count: int, from_us: int, until_us: int) -> None:
        """Completed jobs, evenly over that time, each with its attempt."""
        await self._make(_JOBS % _ENDED, count, from_us, until_us)
        await self.attempts(count, from_us, until_us)

    async def attempts(self, count: int, from_us: int, until_us: int) -> None:
        """Those of jobs that are gone."""
        await self._make(_ATTEMPTS, count, from_us, until_us)

    async def waiting(self, count: int, until_us: int) -> None:
        """Due jobs, a millisecond apart, the last at `until_us`."""
        await self._make(_JOBS % _WAITING, count, until_us - count * 1_000, until_us)

    async def vacuum(self) -> None:
        """What autovacuum does when its turn comes, at a moment of ours."""
        connection = await asyncpg.connect(self._url)
        for table in ("job", "job_attempt"):
            await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=600)
        await connection.execute("CHECKPOINT")
        await connection.close()

    async def analyze(self) -> None:
        """Statistics only: after a checkpoint each page costs its whole image once, and old tables more of those."""
        connection = await asyncpg.connect(self._url)
        await connection.execute("ANALYZE")
        await connection.close()

    async def wal_bytes(self) -> float:
        """Written by the server so far."""
        connection = await asyncpg.connect(self._url)
        found = await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        await connection.close()
        return float(found)

    async def sizes(self) -> dict[str, float]:
        """MiB of both tables, heap and indexes, and bytes of one of their rows."""
        connection = await asyncpg.connect(self._url)
        found = {}
        for row in await connection.fetch(_SIZES):
            size = row["heap"] + row["indexes"]
            found[f"{row['relname']}_mib"] = size / 2**20
            found[f"{row['relname']}_row_bytes"] = size / max(row["reltuples"], 1)
        await connection.close()
        return found

    async def _make(self, statement: str, count: int, from_us: int, until_us: int) -> None:
        connection: Any = await asyncpg.connect(self._url)
        await connection.execute(statement, from_us, max(1, (until_us - from_us) // max(count, 1)), count, timeout=600)
        await connection.close()
