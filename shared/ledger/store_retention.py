"""What of the ledger may go, and when: one `Sweep` for each of its tables that grows.

Completed and cancelled jobs go, and not before a job that waits for them has ended; in the same transaction goes what
they have written, and the tally's `purged` rises, so that accepted = rows + purged at every moment. Dead ones stay
until somebody resolves them. Attempts go never before their job: a dead letter keeps all of its own. A lane goes when
it says nothing that no row would not say: no limits of its own, not paused, its bucket full, no jobs. Ids are as old as
what they name, so walking a primary key is walking time, and deletes from one end of it: pages become empty as a whole.
"""

from collections.abc import Mapping, Sequence

from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.db.sweep import Sweep
from shared.kernel.clock import SECOND_US
from shared.kernel.ids import id_floor, new_id
from shared.ledger.store_output import PURGE_OUTPUT

TALLY_REST_S = 3600.0
TALLY_BATCH = 5_000
TALLY_BATCHES_MOST = 200
LANE_REST_S = 60.0  # a relay may be about to write the bucket of a lane that has just been used

_LOOK_JOBS = Statement(
    "sweep_look_jobs",
    """
    SELECT finished_at, id FROM job
     WHERE state IN ('completed', 'cancelled') AND finished_at < :before
       AND (finished_at, id) > (:after_finished_at, :after_id)
     ORDER BY finished_at, id LIMIT :limit
    """,
)
_DELETE_JOBS = Statement(
    "sweep_jobs",
    """
    DELETE FROM job WHERE id IN (SELECT id FROM {rows} AS i)
       AND {guard:job.state} IN ('completed', 'cancelled') AND finished_at < :before
       AND (parent IS NULL OR NOT EXISTS (SELECT 1 FROM job AS p WHERE p.id = job.parent
            AND p.state NOT IN ('completed', 'cancelled')))
    RETURNING id
    """,
    rows={"finished_at": "bigint", "id": "text"},
)
ADD_TALLY = Statement("add_tally", "INSERT INTO job_tally (id, accepted, purged) VALUES (:id, :accepted, :purged)")
_LOOK_ATTEMPTS = Statement(
    "sweep_look_attempts",
    """
    SELECT job_id, fence FROM job_attempt WHERE job_id < :floor AND (job_id, fence) > (:after_job_id, :after_fence)
     ORDER BY job_id, fence LIMIT :limit
    """,
)
_DELETE_ATTEMPTS = Statement(
    "sweep_attempts",
    """
    DELETE FROM job_attempt WHERE (job_id, fence) IN (SELECT job_id, fence FROM {rows} AS i)
       AND finished_at < :before AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = job_attempt.job_id)
    RETURNING job_id
    """,
    rows={"job_id": "text", "fence": "integer"},
)
_LOOK_KEYS = Statement(
    "sweep_look_keys",
    """
    SELECT expires_at, scope, key FROM dedup
     WHERE expires_at <= :now AND expires_at >= :after_expires_at
       AND (expires_at, scope, key) > (:after_expires_at, :after_scope, :after_key)
     ORDER BY expires_at, scope, key LIMIT :limit
    """,
)
_DELETE_KEYS = Statement(
    "sweep_keys",
    """
    DELETE FROM dedup WHERE (scope, key) IN (SELECT scope, key FROM {rows} AS i) AND expires_at <= :now RETURNING key
    """,
    rows={"expires_at": "bigint", "scope": "text", "key": "text"},
)
_LOOK_ACTIONS = Statement(
    "sweep_look_actions",
    "SELECT id FROM job_action WHERE id < :floor AND id > :after_id ORDER BY id LIMIT :limit",
)
_DELETE_ACTIONS = Statement(
    "sweep_actions", "DELETE FROM job_action WHERE id IN (SELECT id FROM {rows} AS i) RETURNING id", rows={"id": "text"}
)
_LOOK_LANES = Statement(
    "sweep_look_lanes",
    """
    SELECT queue, tenant, name FROM lane WHERE (queue, tenant, name) > (:after_queue, :after_tenant, :after_name)
     ORDER BY queue, tenant, name LIMIT :limit
    """,
)
_DELETE_LANES = Statement(
    "sweep_lanes",
    """
    DELETE FROM lane WHERE (queue, tenant, name) IN (SELECT queue, tenant, name FROM {rows} AS i)
       AND NOT own AND paused_at IS NULL AND tat < :before AND held_until < :before AND ceiling IS NULL
       AND NOT EXISTS (SELECT 1 FROM job AS o
                        WHERE o.queue = lane.queue AND o.tenant = lane.tenant AND o.lane = lane.name
                          AND o.lane IS NOT NULL AND o.state IN ('ready', 'dispatched', 'running'))
    RETURNING name
    """,
    rows={"queue": "text", "tenant": "text", "name": "text"},
)
_TAKE_TALLY = Statement(
    "take_tally",
    """
    DELETE FROM job_tally WHERE id IN (SELECT id FROM job_tally WHERE id < :floor ORDER BY id LIMIT :limit)
    RETURNING accepted, purged
    """,
)


def ledger_sweeps(
    now_us: int, *, keep_finished_s: float, keep_attempts_s: float, keep_actions_s: float
) -> tuple[Sweep, ...]:
    """Jobs first: attempts go only when their job is gone."""

    def before(seconds: float) -> int:
        return now_us - round(seconds * SECOND_US)

    old, older = before(keep_attempts_s), before(keep_actions_s)
    finished = {"before": before(keep_finished_s)}
    attempts = {"before": old, "floor": id_floor("job", old)}
    actions = {"floor": id_floor("act", older)}
    lanes = {"before": before(LANE_REST_S)}
    lane_key = ("queue", "tenant", "name")
    return (
        Sweep("job", _LOOK_JOBS, _DELETE_JOBS, ("finished_at", "id"), (0, ""), finished, gone=count_purged),
        Sweep("job_attempt", _LOOK_ATTEMPTS, _DELETE_ATTEMPTS, ("job_id", "fence"), ("", 0), attempts),
        Sweep("dedup", _LOOK_KEYS, _DELETE_KEYS, ("expires_at", "scope", "key"), (0, "", ""), {"now": now_us}),
        Sweep("job_action", _LOOK_ACTIONS, _DELETE_ACTIONS, ("id",), ("",), actions),
        Sweep("lane", _LOOK_LANES, _DELETE_LANES, lane_key, ("", "", ""), lanes),
    )


async def count_purged(connection: Connection, went: Sequence[Row]) -> Mapping[str, int]:
    await connection.fetch(ADD_TALLY, {"id": new_id("tly"), "accepted": 0, "purged": len(went)})
    gone = await connection.fetch(PURGE_OUTPUT, {"ids": sorted(row["id"] for row in went)})
    return {"job_output": len(gone)}


async def compact_tally(database: Database, before_us: int) -> int:
    """Put rows older than `before_us` into one; returns how many there were.

    Leave TALLY_REST_S: a group commit whose outcome was ambiguous writes its own again, and must find it.
    """
    taken = 0
    for _ in range(TALLY_BATCHES_MOST):
        async with database.transaction() as connection:
            rows = await connection.fetch(_TAKE_TALLY, {"floor": id_floor("tly", before_us), "limit": TALLY_BATCH})
            if rows:
                accepted, purged = sum(row["accepted"] for row in rows), sum(row["purged"] for row in rows)
                await connection.fetch(ADD_TALLY, {"id": new_id("tly"), "accepted": accepted, "purged": purged})
        taken += len(rows)
        if len(rows) < TALLY_BATCH:
            break
    return taken
