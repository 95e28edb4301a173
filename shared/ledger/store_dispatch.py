"""Dispatch and its undoing: `ready` → `dispatched` before an id enters the stream, and back when the stream forgot it.

The pick walks one partial index from a floor for each priority, so its cost does not grow with what waits behind, nor
with dead index entries of what has already gone by. The floors live with the relay and fall back to zero every few
seconds, for jobs that committed late or were given back.
"""

from collections.abc import Sequence
from typing import NamedTuple

from shared.contracts.command import PRIORITIES
from shared.db.sql import Connection, Row, Statement
from shared.ledger.states import SUSPECT_CRASHES

DISPATCH = Statement(
    "dispatch",
    """
    UPDATE job SET state = 'dispatched', dispatched_at = :now
     WHERE {guard:job.state} = 'ready' AND id IN (
           SELECT id FROM job
            WHERE queue = :queue AND state = 'ready' AND run_at <= :now
            ORDER BY priority, run_at, id LIMIT :room)
    RETURNING id, priority, run_at, crashes
    """,
    postgres="""
    WITH picked AS MATERIALIZED (
        SELECT c.id
          FROM unnest(CAST(:floors AS bigint[])) WITH ORDINALITY AS p(floor, number)
         CROSS JOIN LATERAL (
               SELECT id, priority, run_at FROM job
                WHERE queue = CAST(:queue AS text) AND state = 'ready' AND priority = p.number - 1
                  AND run_at >= p.floor AND run_at <= :now
                ORDER BY run_at, id LIMIT CAST(:room AS bigint)) AS c
         ORDER BY c.priority, c.run_at, c.id LIMIT CAST(:room AS bigint))
    UPDATE job SET state = 'dispatched', dispatched_at = CAST(:now AS bigint)
      FROM picked WHERE job.id = picked.id AND {guard:job.state} = 'ready'
    RETURNING job.id, job.priority, job.run_at, job.crashes
    """,
)

NEXT_DUE = Statement(
    "next_due",
    """
    SELECT min(due) AS due FROM (
        SELECT (SELECT min(run_at) FROM job
                 WHERE queue = :queue AND state = 'ready' AND priority = p.value AND run_at > :now) AS due
          FROM json_each('[0,1,2,3,4,5,6,7,8,9]') AS p) AS d
    """,
    postgres="""
    SELECT min(due) AS due FROM (
        SELECT (SELECT min(run_at) FROM job
                 WHERE queue = CAST(:queue AS text) AND state = 'ready' AND priority = p AND run_at > :now) AS due
          FROM generate_series(0, 9) AS p) AS d
    """,
)

DISPATCHED = Statement(
    "dispatched",
    "SELECT id, dispatched_at FROM job WHERE queue = :queue AND state = 'dispatched' ORDER BY id LIMIT :limit",
)

# Guarded by the very dispatch that was seen: one that happened since has an entry of its own.
UNDISPATCH = Statement(
    "undispatch",
    """
    UPDATE job SET state = 'ready', dispatched_at = NULL
     WHERE {guard:job.state} = 'dispatched' AND id {any:ids} AND dispatched_at <= :seen
    RETURNING id
    """,
)


class Dispatched(NamedTuple):
    priority: int
    run_at: int
    id: str
    solo: bool  # must run alone in its process


def zero_floors() -> list[int]:
    return [0] * PRIORITIES


async def dispatch(
    connection: Connection, queue: str, now_us: int, room: int, floors: Sequence[int]
) -> list[Dispatched]:
    """Mark up to `room` due jobs; returns them in the order in which they are to be published."""
    values = {"queue": queue, "now": now_us, "room": room, "floors": list(floors)}
    rows = await connection.fetch(DISPATCH, values)
    marked = (Dispatched(row["priority"], row["run_at"], row["id"], row["crashes"] >= SUSPECT_CRASHES) for row in rows)
    return sorted(marked)


async def next_due(connection: Connection, queue: str, now_us: int) -> int | None:
    rows = await connection.fetch(NEXT_DUE, {"queue": queue, "now": now_us})
    due: int | None = rows[0]["due"]
    return due


async def dispatched(connection: Connection, queue: str, limit: int) -> list[Row]:
    return list(await connection.fetch(DISPATCHED, {"queue": queue, "limit": limit}))


async def undispatch(connection: Connection, ids: Sequence[str], seen_us: int) -> list[str]:
    """Give back to `ready` what was dispatched no later than `seen_us` and has not been claimed."""
    if not ids:
        return []
    return [row["id"] for row in await connection.fetch(UNDISPATCH, {"ids": sorted(ids), "seen": seen_us})]
