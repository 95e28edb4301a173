"""When completions were committed, in the server's own words: the same question to every system on PostgreSQL.

Needs `track_commit_timestamp`. A row's last change must have been its completion.
"""

import asyncpg

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
