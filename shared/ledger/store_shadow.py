"""Shadows of background tasks: a row from before the answer until the task has ended well.

What is left is what BackgroundTasks has lost, with its process, or let fail in silence. Holds no arguments. Bounded:
past SHADOWS_MOST rows nothing more is noted, and the report says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Connection, Statement

SHADOWS_MOST = 10_000
SHOWN_MOST = 100
ERROR_LIMIT_CHARS = 500

_CAST = Statement(
    "cast_shadows",
    """
    INSERT INTO shadow_task (id, function, path, process, started_at)
    SELECT i.id, i.function, i.path, i.process, i.started_at FROM {rows} AS i
     WHERE (SELECT count(*) FROM shadow_task) < :most
    """,
    rows={"id": "text", "function": "text", "path": "text", "process": "text", "started_at": "bigint"},
)
_LIFT = Statement("lift_shadow", "DELETE FROM shadow_task WHERE id = :id")
_FAIL = Statement("fail_shadow", "UPDATE shadow_task SET error = :error WHERE id = :id")
_CLEAR = Statement(
    "clear_shadows", "DELETE FROM shadow_task WHERE error IS NOT NULL OR started_at <= :before RETURNING id"
)
_COUNTS = text(
    """
    SELECT count(*) AS noted, coalesce(sum(CASE WHEN error IS NOT NULL THEN 1 ELSE 0 END), 0) AS failed,
           coalesce(sum(CASE WHEN error IS NULL AND started_at <= :before THEN 1 ELSE 0 END), 0) AS lost
      FROM shadow_task
    """
)
_WHICH = text(
    """
    SELECT function, path, process, started_at, error FROM shadow_task
     WHERE error IS NOT NULL OR started_at <= :before ORDER BY id DESC LIMIT :most
    """
)


async def cast_shadows(connection: Connection, rows: Sequence[tuple[str, str, str, str, int]]) -> None:
    """`rows`: id, function, path, process, started_at (µs)."""
    await connection.fetch(_CAST, {"most": SHADOWS_MOST}, rows)


async def lift_shadow(connection: Connection, shadow_id: str) -> None:
    await connection.fetch(_LIFT, {"id": shadow_id})


async def fail_shadow(connection: Connection, shadow_id: str, error: str) -> None:
    await connection.fetch(_FAIL, {"id": shadow_id, "error": error[:ERROR_LIMIT_CHARS]})


async def clear_shadows(connection: Connection, before_us: int) -> int:
    """Forget what has failed, and what was lost before then."""
    return len(await connection.fetch(_CLEAR, {"before": before_us}))


async def read_shadows(database: Database, before_us: int) -> tuple[Mapping[str, int], Sequence[Mapping[str, Any]]]:
    """Counts (`noted`, `failed`, `lost`: begun before `before_us` and not ended), and the newest of those two kinds."""
    async with database.reader.connect() as connection:
        counts = (await connection.execute(_COUNTS, {"before": before_us})).mappings().one()
        values = {"before": before_us, "most": SHOWN_MOST}
        which = [dict(row) for row in (await connection.execute(_WHICH, values)).mappings()]
    return {name: int(value) for name, value in counts.items()}, which
