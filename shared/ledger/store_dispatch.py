"""Dispatch and its undoing: `ready` → `dispatched` before an id enters the stream, and back when the stream forgot it.

By primary key, of jobs that the relay has chosen; what is no longer due by then is not marked.
"""

from collections.abc import Sequence

from shared.db.sql import Connection, Row, Statement
from shared.ledger.store_line import JOB_IN_LINE

MARK = Statement(
    "mark_dispatched",
    """
    UPDATE job SET state = 'dispatched', dispatched_at = :now
     WHERE id {any:ids} AND {guard:job.state} = 'ready' AND due
    RETURNING id
    """,
)

DISPATCHED = Statement(
    "dispatched",
    "SELECT id, dispatched_at FROM job WHERE queue = :queue AND state = 'dispatched' ORDER BY id LIMIT :limit",
)

# Guarded by the very dispatch that was seen: one that happened since has an entry of its own.
UNDISPATCH = Statement(
    "undispatch",
    f"""
    UPDATE job SET state = 'ready', dispatched_at = NULL
     WHERE {{guard:job.state}} = 'dispatched' AND id {{any:ids}} AND dispatched_at <= :seen
    RETURNING {JOB_IN_LINE}
    """,
)


DISPATCHED_IN_PAUSED_LANES = Statement(
    "dispatched_in_paused_lanes",
    """
    SELECT j.id FROM job AS j JOIN lane AS l ON l.queue = j.queue AND l.tenant = j.tenant AND l.name = j.lane
     WHERE j.queue = :queue AND j.state = 'dispatched' AND l.paused_at IS NOT NULL ORDER BY j.id LIMIT :limit
    """,
)


async def mark(connection: Connection, ids: Sequence[str], now_us: int) -> set[str]:
    """Mark these dispatched; those that were not due any more are missing in the answer."""
    return {row["id"] for row in await connection.fetch(MARK, {"ids": sorted(ids), "now": now_us})}


async def dispatched(connection: Connection, queue: str, limit: int) -> list[Row]:
    return list(await connection.fetch(DISPATCHED, {"queue": queue, "limit": limit}))


async def dispatched_in_paused_lanes(connection: Connection, queue: str, limit: int) -> list[str]:
    return [row["id"] for row in await connection.fetch(DISPATCHED_IN_PAUSED_LANES, {"queue": queue, "limit": limit})]


async def undispatch(connection: Connection, ids: Sequence[str], seen_us: int) -> Sequence[Row]:
    """Give back to the line what was dispatched no later than `seen_us` and has not been claimed."""
    if not ids:
        return []
    return await connection.fetch(UNDISPATCH, {"ids": sorted(ids), "seen": seen_us})
