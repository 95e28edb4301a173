"""What people decide about jobs: retry and discard dead letters, retry or cancel one job, see what fails alike.

A retried job starts over (attempt, crashes and releases from 0) under its old id, and keeps its attempts: the fence
goes on rising, so a late result of an earlier run is still refused. A discarded one ends as cancelled: the row stays
for retention to purge, so that accepted = rows + purged holds. Every statement is bounded, and touches one tenant.
"""

from collections.abc import Sequence
from typing import NamedTuple

from shared.db.sql import Connection, Row, Statement
from shared.ledger.store_family import count_ends

DECIDE_LIMIT = 1_000  # jobs of one decision: it commits within a Tx's time

RETRY = Statement(
    "retry_jobs",
    """
    UPDATE job
       SET state = 'ready', due = FALSE, run_at = :now,
           attempt = 0, crashes = 0, releases = 0, incarnation = NULL, deadline = NULL,
           cancel_requested_at = NULL, dispatched_at = NULL, unique_key = NULL, finished_at = NULL, result = NULL,
           error_type = NULL, error_message = NULL, error_fingerprint = NULL
     WHERE id {any:ids} AND tenant = :tenant AND {guard:job.state} {any:states}
    RETURNING id, queue
    """,
)
DISCARD = Statement(
    "discard_jobs",
    """
    UPDATE job
       SET state = 'cancelled', finished_at = :now, error_type = 'Discarded',
           error_message = 'it had died of ' || coalesce(error_type, '') || ': ' || coalesce(error_message, '')
     WHERE id {any:ids} AND tenant = :tenant AND {guard:job.state} = 'dead'
    RETURNING id, queue, parent
    """,
)
# A running job is asked: its worker is told and asks the ledger, and completion wins if it is first.
_CANCEL = """
       SET state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
           finished_at = CASE WHEN state = 'running' THEN finished_at ELSE CAST(:now AS bigint) END,
           cancel_requested_at = coalesce(cancel_requested_at, CAST(:now AS bigint)), unique_key = NULL,
           error_type = CASE WHEN state = 'running' THEN error_type ELSE 'Cancelled' END,
           error_message = CASE WHEN state = 'running' THEN error_message ELSE CAST(:words AS text) END
"""
_OPEN = "{guard:job.state} IN ('ready', 'dispatched', 'running')"
_CANCELLED = "RETURNING job.id, job.state, job.queue, job.lane, job.parent"
# Many are locked in the order of their ids first: two who cancel the same jobs do not wait for each other.
CANCEL = Statement(
    "cancel_jobs",
    f"UPDATE job {_CANCEL} WHERE id {{any:ids}} AND tenant = :tenant AND {_OPEN} {_CANCELLED}",
    postgres=f"""
    WITH held AS MATERIALIZED (
        SELECT id FROM job WHERE id {{any:ids}} AND tenant = :tenant AND {_OPEN} ORDER BY id FOR UPDATE)
    UPDATE job {_CANCEL} FROM held WHERE job.id = held.id AND {_OPEN} {_CANCELLED}
    """,
)
# Guarded by the fence that was seen: what has been run in between is not what somebody looked at.
SET_ARGS = Statement(
    "set_args",
    """
    UPDATE job SET args = :args
     WHERE id = :id AND tenant = :tenant AND fence = :fence AND {guard:job.state} IN ('dead', 'cancelled')
    RETURNING id
    """,
)
ENDED = Statement("ended_job", "SELECT id, task, args, fence, state FROM job WHERE id = :id AND tenant = :tenant")
KNOWN = Statement("known_jobs", "SELECT id, state FROM job WHERE id {any:ids} AND tenant = :tenant")


class Cancelled(NamedTuple):
    """`state` afterwards: `cancelled`, or `running` when its worker is to hear of the request."""

    state: str
    queue: str
    lane: str | None


async def retry_jobs(
    connection: Connection, tenant: str, ids: Sequence[str], now_us: int, *, states: Sequence[str] = ("dead",)
) -> dict[str, str]:
    """Those of `ids` that were in `states` and are ready again, each with its queue, whose relay is to be woken."""
    values = {"ids": sorted(ids), "tenant": tenant, "now": now_us, "states": list(states)}
    return {row["id"]: row["queue"] for row in await connection.fetch(RETRY, values)}


async def discard_jobs(connection: Connection, tenant: str, ids: Sequence[str], now_us: int) -> dict[str, str]:
    values = {"ids": sorted(ids), "tenant": tenant, "now": now_us}
    rows = await connection.fetch(DISCARD, values)
    await _count(connection, rows, now_us)
    return {row["id"]: row["queue"] for row in rows}


async def cancel_job(connection: Connection, tenant: str, job_id: str, now_us: int) -> Cancelled | None:
    """None when it had ended, or the tenant has no such job."""
    return (await cancel_jobs(connection, tenant, [job_id], now_us)).get(job_id)


async def cancel_jobs(
    connection: Connection,
    tenant: str,
    ids: Sequence[str],
    now_us: int,
    *,
    words: str = "cancelled on request",
) -> dict[str, Cancelled]:
    """Those of `ids` (at most DECIDE_LIMIT) that the tenant has and that had not ended; `words` say why."""
    values = {"ids": sorted(ids), "tenant": tenant, "now": now_us, "words": words}
    rows = await connection.fetch(CANCEL, values)
    await _count(connection, rows, now_us)
    return {row["id"]: Cancelled(row["state"], row["queue"], row["lane"]) for row in rows}


async def _count(connection: Connection, rows: Sequence[Row], now_us: int) -> None:
    children = [row["id"] for row in rows if row["parent"] is not None]
    if children:
        await count_ends(connection, children, now_us)


async def read_ended(connection: Connection, tenant: str, job_id: str) -> Row | None:
    """id, task, args, fence and state, for an edit; whatever its state."""
    rows = await connection.fetch(ENDED, {"id": job_id, "tenant": tenant})
    return rows[0] if rows else None


async def set_args(connection: Connection, tenant: str, job_id: str, args: str, *, fence: int) -> bool:
    """New arguments for a dead or cancelled job, unless it has been run since; to be retried in this transaction."""
    values = {"id": job_id, "tenant": tenant, "args": args, "fence": fence}
    return bool(await connection.fetch(SET_ARGS, values))


async def known_states(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, str]:
    """The stored state of each id that the tenant has."""
    return {row["id"]: row["state"] for row in await connection.fetch(KNOWN, {"ids": sorted(ids), "tenant": tenant})}
