"""Paused queues: a row while a queue is paused, so that it stays paused whatever restarts. Queues have no tenant."""

from collections.abc import Mapping

from shared.db.sql import Connection, Statement

PAUSE = Statement(
    "pause_queue",
    """
    INSERT INTO queue_pause (queue, paused_at, paused_by) VALUES (:queue, :now, :caller)
    ON CONFLICT (queue) DO UPDATE SET paused_by = queue_pause.paused_by
    RETURNING paused_at
    """,
)
RESUME = Statement("resume_queue", "DELETE FROM queue_pause WHERE queue = :queue RETURNING queue")
PAUSES = Statement("queue_pauses", "SELECT queue, paused_at FROM queue_pause")


async def pause_queue(connection: Connection, queue: str, caller: str, now_us: int) -> int:
    """Since when it is paused, in µs; one that is paused already stays so from then."""
    rows = await connection.fetch(PAUSE, {"queue": queue, "caller": caller, "now": now_us})
    return int(rows[0]["paused_at"])


async def resume_queue(connection: Connection, queue: str) -> bool:
    """False when it was not paused."""
    return bool(await connection.fetch(RESUME, {"queue": queue}))


async def queue_pauses(connection: Connection) -> Mapping[str, int]:
    """Queue → since when (µs), of those that are paused."""
    return {row["queue"]: row["paused_at"] for row in await connection.fetch(PAUSES)}
