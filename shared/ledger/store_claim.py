"""Claims: `dispatched` → `running`, by primary key, for an incarnation that nobody has declared dead.

The fence rises with every claim, progress and output start anew, and a unique key is free again: only what waits
holds one, so a retry meets nobody. What is not claimed here is somebody else's, or not due: the stream entry goes
anyway.
"""

from collections.abc import Sequence
from typing import Any

from shared.db.sql import Connection, Row, Statement
from shared.kernel.clock import SECOND_US
from shared.ledger.states import DEADLINE_GRACE_S, Claim

_COLUMNS = """id, task, args, tenant, queue, fence, incarnation, attempt, max_attempts, crashes, releases, timeout_s,
              created_at, run_at, claimed_at, trace, parent, lane, cancel_requested_at"""

CLAIM = Statement(
    "claim",
    f"""
    UPDATE job
       SET state = 'running', fence = fence + 1, incarnation = :incarnation, claimed_at = :now, unique_key = NULL,
           deadline = :now + CAST((timeout_s + :grace) * {SECOND_US} AS bigint),
           progress = NULL, progress_note = NULL, progress_at = NULL, output_chunks = 0
     WHERE id {{any:ids}} AND {{guard:job.state}} = 'dispatched'
       AND EXISTS (SELECT 1 FROM incarnation WHERE id = :incarnation AND tombstone IS NULL)
    RETURNING {_COLUMNS}
    """,
    postgres=f"""
    UPDATE job
       SET state = 'running', fence = fence + 1, incarnation = CAST(:incarnation AS text),
           claimed_at = CAST(:now AS bigint), unique_key = NULL,
           deadline = CAST(:now AS bigint) + CAST((timeout_s + CAST(:grace AS float8)) * {SECOND_US} AS bigint),
           progress = NULL, progress_note = NULL, progress_at = NULL, output_chunks = 0
     WHERE id {{any:ids}} AND {{guard:job.state}} = 'dispatched'
       AND EXISTS (SELECT 1 FROM incarnation WHERE id = CAST(:incarnation AS text) AND tombstone IS NULL)
    RETURNING {_COLUMNS}
    """,
)

OWN_RUNNING = Statement(
    "own_running",
    f"SELECT {_COLUMNS} FROM job WHERE incarnation = :incarnation AND state = 'running' ORDER BY id LIMIT :limit",
)

CANCEL_REQUESTS = Statement(
    "cancel_requests",
    """
    SELECT id, fence FROM job
     WHERE id {any:ids} AND {guard:job.state} = 'running' AND cancel_requested_at IS NOT NULL
    """,
)

# The deadline is by the worker's clock, `now` and `dispatched_at` by a relay's: a job that was claimed before it was
# dispatched says by how much, at least, the relay's is ahead.
_AHEAD = "CASE WHEN dispatched_at > claimed_at THEN dispatched_at - claimed_at ELSE 0 END"
OVERDUE = Statement(
    "overdue",
    f"""
    SELECT {_COLUMNS} FROM job
     WHERE state = 'running' AND deadline + {_AHEAD} < :now
       AND NOT EXISTS (SELECT 1 FROM incarnation AS n WHERE n.id = job.incarnation AND n.tombstone IS NOT NULL)
     ORDER BY id LIMIT :limit
    """,
)

ORPHANS = Statement(
    "orphans",
    f"""
    SELECT j.{", j.".join(name.strip() for name in _COLUMNS.split(","))}, n.tombstone
      FROM incarnation AS n JOIN job AS j ON j.incarnation = n.id AND j.state = 'running'
     WHERE n.tombstone IS NOT NULL
     ORDER BY j.id LIMIT :limit
    """,
)


async def claim(connection: Connection, ids: Sequence[str], incarnation: str, now_us: int) -> list[Claim]:
    """What of `ids` now belongs to `incarnation`, in the order of `ids`."""
    values = {
        "ids": sorted(ids),
        "incarnation": incarnation,
        "now": now_us,
        "grace": DEADLINE_GRACE_S,
    }
    found = {row["id"]: to_claim(row) for row in await connection.fetch(CLAIM, values)}
    return [found[job_id] for job_id in dict.fromkeys(ids) if job_id in found]


async def own_running(connection: Connection, incarnation: str, limit: int = 10_000) -> list[Claim]:
    rows = await connection.fetch(OWN_RUNNING, {"incarnation": incarnation, "limit": limit})
    return [to_claim(row) for row in rows]


async def cancel_requests(connection: Connection, ids: Sequence[str]) -> list[tuple[str, int]]:
    """(id, fence) of those running jobs that somebody asked to cancel."""
    return [(row["id"], row["fence"]) for row in await connection.fetch(CANCEL_REQUESTS, {"ids": list(ids)})]


async def overdue(connection: Connection, now_us: int, limit: int) -> list[Claim]:
    return [to_claim(row) for row in await connection.fetch(OVERDUE, {"now": now_us, "limit": limit})]


async def orphans(connection: Connection, limit: int) -> list[tuple[Claim, str]]:
    """Running jobs of tombstoned incarnations, each with the tombstone's words."""
    rows = await connection.fetch(ORPHANS, {"limit": limit})
    return [(to_claim(row), row["tombstone"]) for row in rows]


def to_claim(row: Row) -> Claim:
    values: dict[str, Any] = {name: row[name] for name in _FIELDS}
    return Claim(**values, cancel_requested=row["cancel_requested_at"] is not None)


_FIELDS = tuple(name.strip() for name in _COLUMNS.split(",") if "cancel" not in name)
