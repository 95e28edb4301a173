"""Retention: what may go, goes in small batches, each in a transaction of its own.

Completed and cancelled jobs go after `keep_finished_s`, and not before a job that waits for them has ended; each batch
adds to the tally's `purged` as it goes, so that accepted = rows + purged at every moment. Attempts go after
`keep_attempts_s`, and never before their job: a dead letter keeps all of its own until a person resolves it. What
callers decided goes after `keep_actions_s`. Tally rows younger than an hour are left alone: a group commit whose
outcome was ambiguous writes its own again, and must find it.
"""

from dataclasses import asdict, dataclass

from services.api.settings import ApiSettings
from shared.db.sql import Statement
from shared.kernel.clock import SECOND_US
from shared.kernel.ids import new_id
from shared.runtime.resources import Resources

BATCHES_LIMIT = 200  # of each kind in one run; the next run goes on
TALLY_REST_S = 3600.0
TALLY_BATCH = 5_000
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

PURGE_JOBS = Statement(
    "purge_jobs",
    """
    DELETE FROM job WHERE state IN ('completed', 'cancelled') AND id IN (
           SELECT id FROM job WHERE state IN ('completed', 'cancelled') AND finished_at < :before
              AND (parent IS NULL OR NOT EXISTS (SELECT 1 FROM job AS p WHERE p.id = job.parent
                   AND p.state NOT IN ('completed', 'cancelled')))
            ORDER BY finished_at, id LIMIT :limit)
    RETURNING id
    """,
)
ADD_TALLY = Statement("add_tally", "INSERT INTO job_tally (id, accepted, purged) VALUES (:id, :accepted, :purged)")
# Walks the primary key: a job's id is as old as the job, so what is to go stands first.
PURGE_ATTEMPTS = Statement(
    "purge_attempts",
    """
    DELETE FROM job_attempt WHERE (job_id, fence) IN (
           SELECT a.job_id, a.fence FROM job_attempt AS a
            WHERE a.job_id < :floor AND a.finished_at < :before
              AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = a.job_id)
            ORDER BY a.job_id, a.fence LIMIT :limit)
    RETURNING job_id
    """,
)
PURGE_ACTIONS = Statement(
    "purge_actions",
    """
    DELETE FROM job_action WHERE id IN (SELECT id FROM job_action WHERE id < :floor ORDER BY id LIMIT :limit)
    RETURNING id
    """,
)
PURGE_DEDUP = Statement(
    "purge_dedup",
    """
    DELETE FROM dedup WHERE expires_at <= :now AND (scope, key) IN (
           SELECT scope, key FROM dedup WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)
    RETURNING key
    """,
)
TAKE_TALLY = Statement(
    "take_tally",
    """
    DELETE FROM job_tally WHERE id IN (SELECT id FROM job_tally WHERE id < :floor ORDER BY id LIMIT :limit)
    RETURNING accepted, purged
    """,
)


@dataclass(frozen=True, slots=True)
class Purged:
    jobs: int
    attempts: int
    keys: int
    tallies: int
    actions: int

    def as_result(self) -> dict[str, int]:
        return asdict(self)


async def purge(resources: Resources, settings: ApiSettings) -> Purged:
    """Each kind until nothing is left to go, or BATCHES_LIMIT; safe to run by many, and to stop between any two."""
    now_us = resources.database.clock.now_us()
    finished = now_us - round(settings.keep_finished_s * SECOND_US)
    attempts = now_us - round(settings.keep_attempts_s * SECOND_US)
    actions = now_us - round(settings.keep_actions_s * SECOND_US)
    limit = settings.purge_batch
    jobs = await _repeat(resources, PURGE_JOBS, {"before": finished, "limit": limit}, counted=True)
    old: dict[str, str | int] = {"floor": id_floor("job", attempts), "before": attempts, "limit": limit}
    return Purged(
        jobs=jobs,
        attempts=await _repeat(resources, PURGE_ATTEMPTS, old),
        keys=await _repeat(resources, PURGE_DEDUP, {"now": now_us, "limit": limit}),
        tallies=await compact_tally(resources, now_us - round(TALLY_REST_S * SECOND_US)),
        actions=await _repeat(resources, PURGE_ACTIONS, {"floor": id_floor("act", actions), "limit": limit}),
    )


async def compact_tally(resources: Resources, before_us: int) -> int:
    """Put rows older than `before_us` into one; returns how many there were."""
    taken = 0
    for _ in range(BATCHES_LIMIT):
        async with resources.tx() as tx:
            values = {"floor": id_floor("tly", before_us), "limit": TALLY_BATCH}
            rows = await tx.fetch(TAKE_TALLY, values)
            if rows:
                accepted, purged = sum(row["accepted"] for row in rows), sum(row["purged"] for row in rows)
                await tx.fetch(ADD_TALLY, {"id": new_id("tly"), "accepted": accepted, "purged": purged})
        taken += len(rows)
        if len(rows) < TALLY_BATCH:
            break
    return taken


async def _repeat(
    resources: Resources, statement: Statement, values: dict[str, str | int], *, counted: bool = False
) -> int:
    gone = 0
    for _ in range(BATCHES_LIMIT):
        async with resources.tx() as tx:
            rows = await tx.fetch(statement, values)
            if counted and rows:
                await tx.fetch(ADD_TALLY, {"id": new_id("tly"), "accepted": 0, "purged": len(rows)})
        gone += len(rows)
        if len(rows) < int(values["limit"]):
            break
    return gone


def id_floor(prefix: str, at_us: int) -> str:
    """The least id that could be made at `at_us` (µs): ids made before it sort before it."""
    value = max(0, at_us // 1_000) << 80
    digits = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
