"""When completions were committed, in the server's own words: the same question to every system on PostgreSQL.

Needs `track_commit_timestamp`. A row's last change must have been its completion.
"""

import time

import asyncpg

from bench.pace import open_loop

_QUERY = """
    SELECT CAST(extract(epoch FROM at) * 1000000 AS bigint) AS at_us
      FROM (SELECT pg_xact_commit_timestamp(xmin) AS at FROM {rows}) AS completed
     WHERE at >= to_timestamp(CAST($1 AS double precision) / 1000000) ORDER BY at LIMIT $2
"""


async def committed_us(url: str, rows: str, since_us: int, many: int) -> list[int]:
    """Instants of the first `many` completions since then; `rows` is a table with its WHERE."""
    connection = await asyncpg.connect(url)
    try:
        return [row["at_us"] for row in await connection.fetch(_QUERY.format(rows=rows), since_us, many)]
    finally:
        await connection.close()


async def commits_ms(url: str, rate: float, seconds: float) -> list[float]:
    """How long one row takes to be inserted and durable, at that pace and with nobody else: what one commit costs."""
    lates_ms: list[float] = []
    pool = await asyncpg.create_pool(url, min_size=4, max_size=4)
    try:
        await pool.execute("CREATE TABLE IF NOT EXISTS bench_commit (id bigint PRIMARY KEY)")

        async def insert(intended_ns: int) -> None:
            await pool.execute("INSERT INTO bench_commit (id) VALUES ($1)", intended_ns)
            lates_ms.append((time.time_ns() - intended_ns) / 1e6)

        await open_loop(rate, seconds, insert)
        await pool.execute("DROP TABLE bench_commit")
    finally:
        await pool.close()
    return lates_ms


async def settle(url: str) -> None:
    """Statistics, and nothing left to write: a measurement starts from rest, whoever is measured."""
    await execute(url, "ANALYZE", "CHECKPOINT")


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
