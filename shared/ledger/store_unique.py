"""Unique jobs: of what waits under one key there is one row, and who comes second is told which.

The key is in `job.unique_key` while the job waits (the partial unique index is the guard); a claim, a cancel and a
retry by hand take it away, so what comes back from `running` meets nobody. With a window, `dedup` has the key for that
long, whatever becomes of the job. A conflict is an ON CONFLICT, never an exception: the caller's transaction goes on.

Until that transaction ends it holds the waiting job's row: a worker that wants it waits, and then sees what the caller
wrote, so a kept job never runs on what was true before. Order of locks: dedup, then job, by key.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from shared.db.sql import Connection, Statement
from shared.ledger.store_accept import INSERT_JOBS, NewJob, Sole, count_accepted, job_row
from shared.ledger.store_change import change_waiting

What = Literal["made", "kept", "replaced", "rescheduled"]
SCOPE = "unique"  # in dedup; the scopes of HTTP requests there have spaces in them

INSERT_UNIQUE = Statement(
    "insert_unique",
    INSERT_JOBS.text.replace(
        "ON CONFLICT (id) DO NOTHING",
        """ON CONFLICT (unique_key) WHERE state IN ('ready', 'dispatched')
             DO UPDATE SET unique_key = excluded.unique_key RETURNING id""",
    ),
    rows=INSERT_JOBS.rows,
)
# A window that has passed is taken over as if it were new.
OPEN_WINDOW = Statement(
    "open_window",
    """
    INSERT INTO dedup (scope, key, fingerprint, created_at, expires_at) VALUES (:scope, :key, :id, :now, :until)
    ON CONFLICT (scope, key) DO UPDATE
       SET fingerprint = excluded.fingerprint, created_at = excluded.created_at, expires_at = excluded.expires_at
     WHERE dedup.expires_at <= excluded.created_at
    RETURNING fingerprint
    """,
)
READ_WINDOW = Statement("read_window", "SELECT fingerprint FROM dedup WHERE scope = :scope AND key = :key")
NAME_IN_WINDOW = Statement("name_in_window", "UPDATE dedup SET fingerprint = :id WHERE scope = :scope AND key = :key")


class Enqueued(NamedTuple):
    """The job that stands for a command: `made` now, or one from before, and what was done about that."""

    id: str
    what: What = "made"


async def accept_unique(connection: Connection, jobs: Sequence[NewJob]) -> list[Enqueued]:
    """In the order of `jobs`. Counts as accepted only what was made."""
    found = {}
    for job in sorted(jobs, key=lambda job: job.unique_key or ""):
        found[job.id] = await _place(connection, job)
    made = sum(one.what == "made" for one in found.values())
    if made:
        await count_accepted(connection, made)
    return [found[job.id] for job in jobs]


async def _place(connection: Connection, job: NewJob) -> Enqueued:
    sole = job.sole or Sole("keep")
    window = {"scope": SCOPE, "key": job.unique_key}
    if sole.until is not None:
        values = {**window, "id": job.id, "now": job.created_at, "until": sole.until}
        if not await connection.fetch(OPEN_WINDOW, values):
            held = (await connection.fetch(READ_WINDOW, window))[0]["fingerprint"]
            return await _meet(connection, job, sole, held)
    there = (await connection.fetch(INSERT_UNIQUE, None, [job_row(job)]))[0]["id"]
    if there == job.id:
        return Enqueued(job.id)
    if sole.until is not None:
        await connection.fetch(NAME_IN_WINDOW, {**window, "id": there})
    return await _meet(connection, job, sole, there)


async def _meet(connection: Connection, job: NewJob, sole: Sole, held: str) -> Enqueued:
    """There is one already. In its window it may run or have ended: then it stays as it is."""
    if sole.on_conflict == "replace":
        changed = await change_waiting(
            connection, held, args=job.args, priority=sole.priority, run_at=sole.run_at, at_least_us=job.created_at
        )
        return Enqueued(held, "replaced" if changed else "kept")
    if sole.on_conflict == "reschedule":
        changed = await change_waiting(connection, held, run_at=job.run_at)
        return Enqueued(held, "rescheduled" if changed else "kept")
    return Enqueued(held, "kept")
