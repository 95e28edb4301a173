"""What ended in a window of time, counted by tenant and task: one walk of two small indexes, whatever else is there.

Instants are µs. `run` is the last attempt's, from its claim to its end; `wait` from when that one was due to its claim.
A cancelled job has neither: it may never have run, or have been stopped.
"""

from collections.abc import Sequence

from shared.db.sql import Connection, Row, Statement

_ENDED = "tenant, task, state, attempt, run_at, claimed_at, finished_at FROM job"
_RAN = "state <> 'cancelled' AND claimed_at IS NOT NULL"
_RUN = "CASE WHEN finished_at > claimed_at THEN finished_at - claimed_at ELSE 0 END"
_WAIT = "CASE WHEN claimed_at > run_at THEN claimed_at - run_at ELSE 0 END"
COUNT_ENDED = Statement(
    "count_ended",
    f"""
    SELECT tenant, task, CAST(sum(CASE WHEN state = 'completed' THEN 1 ELSE 0 END) AS bigint) AS completed,
           CAST(sum(CASE WHEN state = 'dead' THEN 1 ELSE 0 END) AS bigint) AS dead,
           CAST(sum(CASE WHEN state = 'cancelled' THEN 1 ELSE 0 END) AS bigint) AS cancelled,
           CAST(sum(CASE WHEN attempt > 1 THEN attempt - 1 ELSE 0 END) AS bigint) AS retries,
           CAST(sum(CASE WHEN {_RAN} THEN 1 ELSE 0 END) AS bigint) AS ran,
           CAST(coalesce(sum(CASE WHEN {_RAN} THEN {_RUN} END), 0) AS bigint) AS run_us_sum,
           CAST(coalesce(max(CASE WHEN {_RAN} THEN {_RUN} END), 0) AS bigint) AS run_us_max,
           CAST(coalesce(sum(CASE WHEN {_RAN} THEN {_WAIT} END), 0) AS bigint) AS wait_us_sum,
           CAST(coalesce(max(CASE WHEN {_RAN} THEN {_WAIT} END), 0) AS bigint) AS wait_us_max
      FROM (SELECT {_ENDED}
             WHERE state IN ('completed', 'cancelled') AND finished_at >= :from_us AND finished_at < :until_us
            UNION ALL
            SELECT {_ENDED} WHERE state = 'dead' AND finished_at >= :from_us AND finished_at < :until_us) AS ended
     GROUP BY tenant, task ORDER BY tenant, task
    """,
)


async def count_ended(connection: Connection, from_us: int, until_us: int) -> Sequence[Row]:
    """A row for each tenant and task of which a job ended at or after `from_us`, and before `until_us`."""
    return await connection.fetch(COUNT_ENDED, {"from_us": from_us, "until_us": until_us})
