"""What may change about a job that waits: its arguments, its priority, its time.

The relay holds buffers of the line, and marks only what is `ready` and `due`: a changed job is taken out of line
(`due` FALSE) in the same statement, and is found and put in its new place. One whose time has changed leaves the window
on the stream as well: its entry there is a stray, which no claim takes. Refuses jobs that run or have ended.
"""

from shared.db.sql import Connection, Row, Statement

_MOVED = "CAST(:run_at AS bigint) IS NOT NULL"
CHANGE_WAITING = Statement(
    "change_waiting",
    f"""
    UPDATE job
       SET args = coalesce(CAST(:args AS text), args), priority = coalesce(CAST(:priority AS smallint), priority),
           run_at = coalesce(CAST(:run_at AS bigint), CASE
                WHEN CAST(:priority AS smallint) IS NOT NULL AND run_at < CAST(:at_least AS bigint)
                THEN CAST(:at_least AS bigint) ELSE run_at END),
           due = due AND NOT ({_MOVED} OR (CAST(:priority AS smallint) IS NOT NULL AND state = 'ready')),
           state = CASE WHEN {_MOVED} THEN 'ready' ELSE state END,
           dispatched_at = CASE WHEN {_MOVED} THEN NULL ELSE dispatched_at END
     WHERE id = :id AND {{guard:job.state}} IN ('ready', 'dispatched')
       AND (CAST(:tenant AS text) IS NULL OR tenant = CAST(:tenant AS text))
    RETURNING id, queue, state, priority, run_at, attempt
    """,
)


async def change_waiting(
    connection: Connection,
    job_id: str,
    *,
    tenant: str | None = None,
    args: str | None = None,
    priority: int | None = None,
    run_at: int | None = None,
    at_least_us: int = 0,
) -> Row | None:
    """The row afterwards, or None when it does not wait. None leaves a part as it is.

    `at_least_us` is for callers who cannot tell the relay of the move (`Waker.changed`): it does not look for jobs
    that have been due for long, so one that changes its priority is due from then on.
    """
    values = {
        "id": job_id, "tenant": tenant, "args": args, "priority": priority, "run_at": run_at, "at_least": at_least_us,
    }  # fmt: skip
    rows = await connection.fetch(CHANGE_WAITING, values)
    return rows[0] if rows else None
