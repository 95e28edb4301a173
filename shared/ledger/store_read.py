"""Reads for people and for waiting callers: one job with its attempts, lists by cursor, dead letters.

Every list is bounded and walks an index from a cursor; ids sort as time does, so the newest come first by id.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import text

from shared.db.engine import Database

PAGE_LIMIT = 200
_OUTCOME = text(
    """
    SELECT state, result, error_type, error_message, claimed_at, finished_at, progress, progress_note, progress_at
      FROM job WHERE id = :id
    """
)
_JOB = text("SELECT * FROM job WHERE id = :id AND tenant = :tenant")
_ATTEMPTS = text(
    """
    SELECT * FROM (SELECT a.*, row_number() OVER (ORDER BY fence) AS number
                     FROM job_attempt AS a WHERE job_id = :id) AS numbered
     ORDER BY fence DESC LIMIT 200
    """
)
_CHILDREN = text(
    """
    SELECT id, task, state, result, error_type, error_message FROM job
     WHERE parent = :id AND parent IS NOT NULL ORDER BY id LIMIT 1000
    """
)
_COUNT_CHILDREN = text("SELECT state, count(*) AS n FROM job WHERE parent = :id AND parent IS NOT NULL GROUP BY state")
_SHOWN = {
    "scheduled": "state = 'ready' AND attempt = 0 AND run_at > :now",
    "queued": "(state = 'dispatched' OR (state = 'ready' AND attempt = 0 AND run_at <= :now))",
    "retrying": "state = 'ready' AND attempt > 0",
    "running": "state = 'running'",
    "completed": "state = 'completed'",
    "dead": "state = 'dead'",
    "cancelled": "state = 'cancelled'",
}
SHOWN_STATES = tuple(_SHOWN)  # those of `states.shown_state`, as conditions


async def read_outcome(database: Database, job_id: str) -> Mapping[str, Any] | None:
    return await _one(database, _OUTCOME, {"id": job_id})


async def read_job(database: Database, job_id: str, tenant: str) -> Mapping[str, Any] | None:
    return await _one(database, _JOB, {"id": job_id, "tenant": tenant})


async def read_attempts(database: Database, job_id: str) -> Sequence[Mapping[str, Any]]:
    """The newest 200 at most, oldest first; `number` counts all of them from 1, over manual retries as well."""
    return (await _all(database, _ATTEMPTS, {"id": job_id}))[::-1]


async def read_children(database: Database, job_id: str) -> Sequence[Mapping[str, Any]]:
    """The first 1,000 jobs that this one waits or waited for, by id; `result` is what JSON said."""
    rows = await _all(database, _CHILDREN, {"id": job_id})
    return [{**row, "result": orjson.loads(row["result"]) if row["result"] else None} for row in rows]


async def count_children(database: Database, job_id: str) -> Mapping[str, int]:
    """How many there are in each stored state."""
    return {row["state"]: row["n"] for row in await _all(database, _COUNT_CHILDREN, {"id": job_id})}


async def list_jobs(
    database: Database,
    tenant: str,
    *,
    states: Sequence[str] = (),
    queue: str | None = None,
    task: str | None = None,
    fingerprint: str | None = None,
    shown: str | None = None,
    now_us: int = 0,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[Mapping[str, Any]]:
    """Newest first, from before the cursor. `shown` is one of SHOWN_STATES, judged at `now_us`."""
    where = ["tenant = :tenant"]
    values: dict[str, Any] = {"tenant": tenant, "limit": min(limit, PAGE_LIMIT)}
    if len(states) == 1 and states[0] == "dead":
        where.append("state = 'dead'")  # literally, so that the partial index of dead letters serves it
    elif states:
        where.append(f"state IN ({', '.join(f':s{i}' for i in range(len(states)))})")
        values |= {f"s{i}": state for i, state in enumerate(states)}
    if shown is not None:
        where.append(_SHOWN[shown])
        if ":now" in _SHOWN[shown]:
            values["now"] = now_us
    filters = (("queue", queue, "="), ("task", task, "="), ("error_fingerprint", fingerprint, "="), ("id", before, "<"))
    for column, value, test in filters:
        if value is not None:
            where.append(f"{column} {test} :{column}")
            values[column] = value
    query = text(f"SELECT * FROM job WHERE {' AND '.join(where)} ORDER BY tenant DESC, id DESC LIMIT :limit")
    return await _all(database, query, values)


async def _one(database: Database, query: Any, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    rows = await _all(database, query, values)
    return rows[0] if rows else None


async def _all(database: Database, query: Any, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    async with database.reader.connect() as connection:
        return [dict(row) for row in (await connection.execute(query, dict(values))).mappings()]
