"""Incarnations: one row for each boot of a process; a beat while it lives, a tombstone once it is declared dead.

The tombstone is set once, by compare-and-set on the beat that the rescuer saw unchanged, and never cleared. Beats and
claims require its absence, so a process that was declared dead finds out at its next beat and writes nothing more.
"""

from collections.abc import Sequence

from shared.db.sql import Connection, Row, Statement

BORN = Statement(
    "incarnation_born",
    """
    INSERT INTO incarnation (id, queue, role, host, pid, capacity, beat, started_at)
    VALUES (:id, :queue, :role, :host, :pid, :capacity, 0, :now) ON CONFLICT (id) DO NOTHING
    """,
)
BEAT = Statement(
    "incarnation_beat",
    "UPDATE incarnation SET beat = beat + 1 WHERE id = :id AND tombstone IS NULL RETURNING beat",
)
BURY = Statement(
    "incarnation_bury",
    """
    UPDATE incarnation SET tombstone = :reason, tombstoned_at = :now WHERE id = :id AND tombstone IS NULL
    RETURNING id
    """,
)
BURY_SILENT = Statement(
    "incarnation_bury_silent",
    """
    UPDATE incarnation SET tombstone = :reason, tombstoned_at = :now
     WHERE id = :id AND tombstone IS NULL AND beat = :beat RETURNING id
    """,
)
LIVING = Statement(
    "incarnation_living",
    """
    SELECT id, queue, role, host, pid, capacity, beat, started_at FROM incarnation
     WHERE tombstone IS NULL ORDER BY id
    """,
)
BURIED = Statement("incarnation_buried", "SELECT id FROM incarnation WHERE id {any:ids} AND tombstone IS NOT NULL")
FORGET = Statement(
    "incarnation_forget",
    """
    DELETE FROM incarnation WHERE tombstone IS NOT NULL AND tombstoned_at < :before
       AND NOT EXISTS (SELECT 1 FROM job WHERE job.incarnation = incarnation.id AND job.state = 'running')
    """,
)


async def born(
    connection: Connection, incarnation: str, *, queue: str, role: str, host: str, pid: int, capacity: int, now_us: int
) -> None:
    values = {"id": incarnation, "queue": queue, "role": role, "host": host, "pid": pid, "capacity": capacity}
    await connection.fetch(BORN, {**values, "now": now_us})


async def beat(connection: Connection, incarnation: str) -> int | None:
    """The new count, or None: somebody has declared this incarnation dead."""
    rows = await connection.fetch(BEAT, {"id": incarnation})
    return rows[0]["beat"] if rows else None


async def bury(connection: Connection, incarnation: str, reason: str, now_us: int) -> bool:
    """Tombstone one whose death is proven (its slot's lock is free, its pid was reaped) or that ends itself."""
    return bool(await connection.fetch(BURY, {"id": incarnation, "reason": reason, "now": now_us}))


async def bury_silent(connection: Connection, incarnation: str, seen_beat: int, reason: str, now_us: int) -> bool:
    """Tombstone one that has not beaten since `seen_beat`; loses against a beat that comes first."""
    values = {"id": incarnation, "reason": reason, "now": now_us, "beat": seen_beat}
    return bool(await connection.fetch(BURY_SILENT, values))


async def living(connection: Connection) -> Sequence[Row]:
    return await connection.fetch(LIVING)


async def buried(connection: Connection, incarnations: Sequence[str]) -> set[str]:
    """Those of them that have been declared dead."""
    if not incarnations:
        return set()
    return {row["id"] for row in await connection.fetch(BURIED, {"ids": list(incarnations)})}


async def forget(connection: Connection, before_us: int) -> None:
    await connection.fetch(FORGET, {"before": before_us})
