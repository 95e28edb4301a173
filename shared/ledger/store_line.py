"""What the relay reads of the line: jobs that are due, whose turn it is not yet, and which of them are of which flow.

A flow is everything due of one priority, tenant and lane; its key is an expression that `ix_job_line` begins with, so
that the next flow is one probe away however long this one is. Each statement is bounded, and none walks what waits
behind; `after` and `floor` keep it from walking the dead index entries of what has gone by.
"""

from collections.abc import Sequence
from typing import Any

from shared.db.sql import Connection, Row, Statement

FLOW_KEY = "CAST(priority AS text) || '/' || tenant || '/' || coalesce(lane, '')"
IN_LINE = "run_at, id, priority, tenant, lane, task, crashes"
JOB_IN_LINE = "job." + IN_LINE.replace(", ", ", job.")
_DUE = "queue = :queue AND state = 'ready' AND due"

ARRIVED = Statement(
    "arrived",
    f"""
    SELECT {IN_LINE}, created_at FROM job
     WHERE {_DUE} AND (created_at, id) > (CAST(:after_at AS bigint), CAST(:after_id AS text))
     ORDER BY created_at, id LIMIT CAST(:most AS bigint)
    """,
)

_LATER = """
            SELECT id FROM job
             WHERE queue = CAST(:queue AS text) AND state = 'ready' AND NOT due AND waits_for = 0
               AND run_at <= CAST(:now AS bigint) AND run_at >= CAST(:floor AS bigint)
             ORDER BY run_at, id LIMIT CAST(:most AS bigint)"""
MOVE_INTO_LINE = Statement(
    "move_into_line",
    f"UPDATE job SET due = TRUE WHERE {{guard:job.state}} = 'ready' AND id IN ({_LATER}) RETURNING {IN_LINE}",
    postgres=f"""
    WITH later AS MATERIALIZED ({_LATER})
    UPDATE job SET due = TRUE FROM later WHERE job.id = later.id AND {{guard:job.state}} = 'ready'
    RETURNING {JOB_IN_LINE}
    """,
)

NEXT_DUE = Statement(
    "next_due",
    """SELECT min(run_at) AS due FROM job
        WHERE queue = :queue AND state = 'ready' AND NOT due AND waits_for = 0 AND run_at >= :floor""",
)

FLOWS = Statement(
    "flows",
    f"""
    WITH RECURSIVE hop (flow, n) AS (
        SELECT (SELECT {FLOW_KEY} FROM job WHERE {_DUE} AND {FLOW_KEY} > :after ORDER BY {FLOW_KEY} LIMIT 1), 1
        UNION ALL
        SELECT (SELECT {FLOW_KEY} FROM job WHERE {_DUE} AND {FLOW_KEY} > hop.flow ORDER BY {FLOW_KEY} LIMIT 1), n + 1
          FROM hop WHERE hop.flow IS NOT NULL AND n < :most)
    SELECT flow FROM hop WHERE flow IS NOT NULL
    """,
)

FLOW_JOBS = Statement(
    "flow_jobs",
    f"""
    SELECT f.flow, {JOB_IN_LINE} FROM {{rows}} AS f
      JOIN job ON job.id IN (
           SELECT id FROM job AS o
            WHERE o.queue = :queue AND o.state = 'ready' AND o.due AND {
        FLOW_KEY.replace("priority", "o.priority").replace("tenant", "o.tenant").replace("lane", "o.lane")
    } = f.flow
              AND (o.run_at, o.id) > (f.run_at, f.id)
            ORDER BY o.run_at, o.id LIMIT :most)
     ORDER BY f.flow, job.run_at, job.id
    """,
    postgres=f"""
    SELECT f.flow, job.* FROM {{rows}} AS f
     CROSS JOIN LATERAL (
           SELECT {IN_LINE} FROM job AS o
            WHERE o.queue = CAST(:queue AS text) AND o.state = 'ready' AND o.due AND {FLOW_KEY} = f.flow
              AND (o.run_at, o.id) > (f.run_at, f.id)
            ORDER BY o.run_at, o.id LIMIT CAST(:most AS bigint)) AS job
     ORDER BY f.flow, job.run_at, job.id
    """,
    rows={"flow": "text", "run_at": "bigint", "id": "text"},
)

UNDER_WAY = Statement(
    "under_way",
    """
    SELECT id, tenant, lane, task FROM job WHERE queue = :queue AND state = 'dispatched' AND lane IS NOT NULL
    UNION ALL
    SELECT j.id, j.tenant, j.lane, j.task
      FROM incarnation AS n JOIN job AS j ON j.incarnation = n.id AND j.state = 'running'
     WHERE n.queue = :queue AND j.lane IS NOT NULL
    """,
)

STILL_UNDER_WAY = Statement(
    "still_under_way",
    "SELECT id FROM job WHERE id {any:ids} AND {guard:job.state} IN ('dispatched', 'running')",
)


async def arrived(connection: Connection, queue: str, after: tuple[int, str], most: int) -> Sequence[Row]:
    """Due jobs accepted after (created_at, id), in that order."""
    values = {"queue": queue, "after_at": after[0], "after_id": after[1], "most": most}
    return await connection.fetch(ARRIVED, values)


async def move_into_line(connection: Connection, queue: str, now_us: int, floor_us: int, most: int) -> Sequence[Row]:
    """Later jobs whose `run_at` has come; at most `most`, the earliest first."""
    values = {"queue": queue, "now": now_us, "floor": floor_us, "most": most}
    return await connection.fetch(MOVE_INTO_LINE, values)


async def next_due(connection: Connection, queue: str, floor_us: int) -> int | None:
    """When the earliest later job is due, from `floor_us` on; it may be in the past."""
    rows = await connection.fetch(NEXT_DUE, {"queue": queue, "floor": floor_us})
    due: int | None = rows[0]["due"]
    return due


async def flows(connection: Connection, queue: str, after: str, most: int) -> list[str]:
    """Keys of flows with due jobs, in order, beyond `after` ('' is before all)."""
    return [row["flow"] for row in await connection.fetch(FLOWS, {"queue": queue, "after": after, "most": most})]


async def flow_jobs(
    connection: Connection, queue: str, wanted: Sequence[tuple[str, int, str]], most: int
) -> dict[str, list[Row]]:
    """Of each (flow, run_at, id): its jobs beyond that place, oldest first, at most `most` of each."""
    found: dict[str, list[Row]] = {flow: [] for flow, _, _ in wanted}
    for row in await connection.fetch(FLOW_JOBS, {"queue": queue, "most": most}, wanted):
        found[row["flow"]].append(row)
    return found


async def under_way(connection: Connection, queue: str) -> Sequence[Row]:
    """id, tenant, lane and task of everything dispatched or running in a lane."""
    return await connection.fetch(UNDER_WAY, {"queue": queue})


async def ended_of(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that are neither dispatched nor running any more."""
    if not ids:
        return set()
    rows: Any = await connection.fetch(STILL_UNDER_WAY, {"ids": sorted(ids)})
    return set(ids) - {row["id"] for row in rows}
