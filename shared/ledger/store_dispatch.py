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


# A lane that is paused or held holds those that stand in it; see `LanePolicy.grouped`.
_STANDING_STILL = """
    SELECT j.id FROM job AS j JOIN lane AS l ON l.queue = j.queue AND l.tenant = j.tenant AND l.name IN (j.lane, %s)
     WHERE j.queue = :queue AND j.state = 'dispatched' AND j.lane IS NOT NULL
       AND (l.paused_at IS NOT NULL OR l.held_until > :now)
     ORDER BY j.id LIMIT :limit
"""
DISPATCHED_IN_STANDING_LANES = Statement(
    "dispatched_in_standing_lanes",
    _STANDING_STILL % "substr(j.lane, 1, instr(j.lane || ':', ':') - 1)",
    postgres=_STANDING_STILL % "split_part(j.lane, ':', 1)",
)


async def mark(connection: Connection, ids: Sequence[str], now_us: int) -> set[str]:
    """Mark these dispatched; those that were not due any more are missing in the answer."""
    return {row["id"] for row in await connection.fetch(MARK, {"ids": sorted(ids), "now": now_us})}


async def dispatched(connection: Connection, queue: str, limit: int) -> list[Row]:
    return list(await connection.fetch(DISPATCHED, {"queue": queue, "limit": limit}))


async def dispatched_in_standing_lanes(connection: Connection, queue: str, now_us: int, limit: int) -> list[str]:
    """Of lanes that are paused, or held beyond `now_us`."""
    values = {"queue": queue, "now": now_us, "limit": limit}
    return [row["id"] for row in await connection.fetch(DISPATCHED_IN_STANDING_LANES, values)]


async def undispatch(connection: Connection, ids: Sequence[str], seen_us: int) -> Sequence[Row]:
    """Give back to the line what was dispatched no later than `seen_us` and has not been claimed."""
    if not ids:
        return []
    return await connection.fetch(UNDISPATCH, {"ids": sorted(ids), "seen": seen_us})
