"""The audit: proves from one snapshot of the database that nothing was lost, doubled or forged.

Accepted, which is counted apart from the rows, must equal rows + purged; every row must be terminal or in flight, with
the marks that its state leaves; every completed job has exactly one recorded result, under its last fence; what hangs
on a job (output, progress, ticks) has its job and is whole. What does not hold is named by check and ids.

A link to a job may outlive it, since retention takes ended jobs: it says nothing alone. When jobs are missing, the
newest links that lead nowhere name those that are most likely the missing ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import Database

IDS_SHOWN = 100

# Each finds the ids that break one rule; a healthy ledger returns nothing.
CHECKS: dict[str, str] = {
    "running_without_owner": """
        SELECT id FROM job WHERE state = 'running'
           AND (incarnation IS NULL OR deadline IS NULL OR claimed_at IS NULL OR fence < 1)""",
    "running_for_nobody": """
        SELECT j.id FROM job AS j WHERE j.state = 'running' AND j.incarnation IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM incarnation AS n WHERE n.id = j.incarnation)""",
    "dead_without_attempt": """
        SELECT j.id FROM job AS j WHERE j.state = 'dead' AND NOT EXISTS (
            SELECT 1 FROM job_attempt AS a WHERE a.job_id = j.id AND a.fence = j.fence)""",
    "in_flight_without_attempts_left": """
        SELECT id FROM job WHERE state IN ('ready', 'dispatched', 'running') AND attempt >= max_attempts""",
    "owner_without_running": "SELECT id FROM job WHERE state <> 'running' AND incarnation IS NOT NULL",
    "terminal_without_end": """
        SELECT id FROM job WHERE state IN ('completed', 'dead', 'cancelled') AND finished_at IS NULL""",
    "end_without_terminal": """
        SELECT id FROM job WHERE state IN ('ready', 'dispatched', 'running') AND finished_at IS NOT NULL""",
    "dispatched_without_time": "SELECT id FROM job WHERE state = 'dispatched' AND dispatched_at IS NULL",
    "dead_without_reason": "SELECT id FROM job WHERE state = 'dead' AND error_type IS NULL",
    "cancelled_without_reason": """
        SELECT j.id FROM job AS j WHERE j.state = 'cancelled' AND (
            j.error_type IS NULL OR (j.error_type NOT IN ('Cancelled', 'Discarded') AND NOT EXISTS (
                SELECT 1 FROM job_attempt AS a
                 WHERE a.job_id = j.id AND a.fence = j.fence AND a.outcome = 'cancelled')))""",
    "completed_without_result": """
        SELECT j.id FROM job AS j WHERE j.state = 'completed' AND NOT EXISTS (
            SELECT 1 FROM job_attempt AS a WHERE a.job_id = j.id AND a.fence = j.fence AND a.outcome = 'completed')""",
    "result_without_completed": """
        SELECT j.id FROM job AS j WHERE j.state <> 'completed' AND EXISTS (
            SELECT 1 FROM job_attempt AS a WHERE a.job_id = j.id AND a.outcome = 'completed')""",
    "result_twice": """
        SELECT job_id AS id FROM job_attempt WHERE outcome = 'completed' GROUP BY job_id HAVING count(*) > 1""",
    "attempt_beyond_fence": """
        SELECT DISTINCT j.id FROM job AS j JOIN job_attempt AS a ON a.job_id = j.id WHERE a.fence > j.fence""",
    "key_of_what_does_not_wait": """
        SELECT id FROM job WHERE unique_key IS NOT NULL AND state NOT IN ('ready', 'dispatched')""",
    "waits_for_other_than_its_children": """
        SELECT p.id FROM job AS p WHERE (p.waits_for <> 0 OR p.id IN (SELECT parent FROM job WHERE parent IS NOT NULL))
           AND p.waits_for <> (SELECT count(*) FROM job AS c
                                WHERE c.parent = p.id AND c.parent IS NOT NULL AND NOT c.counted)""",
    "started_before_its_children": """
        SELECT id FROM job WHERE waits_for > 0 AND (state IN ('dispatched', 'running', 'completed') OR due)""",
    "done_and_not_counted": """
        SELECT id FROM job WHERE parent IS NOT NULL AND NOT counted AND state IN ('completed', 'cancelled')""",
    "output_without_job": """
        SELECT DISTINCT o.job_id AS id FROM job_output AS o
         WHERE NOT EXISTS (SELECT 1 FROM job AS j WHERE j.id = o.job_id)""",
    "output_beyond_fence": """
        SELECT DISTINCT j.id FROM job AS j JOIN job_output AS o ON o.job_id = j.id WHERE o.fence > j.fence""",
    "output_not_as_counted": """
        SELECT j.id FROM job AS j WHERE (j.output_chunks <> 0 OR j.id IN (SELECT job_id FROM job_output))
           AND j.output_chunks <> (SELECT count(*) FROM job_output AS o WHERE o.job_id = j.id AND o.fence = j.fence)""",
    "output_with_a_gap": """
        SELECT DISTINCT job_id AS id FROM (
            SELECT job_id, number, offset_chars,
                   row_number() OVER (PARTITION BY job_id, fence ORDER BY number) AS place,
                   sum(length(text)) OVER (PARTITION BY job_id, fence ORDER BY number) - length(text) AS before
              FROM job_output) AS chunk
         WHERE number <> place OR offset_chars <> before""",
    "progress_that_nobody_reported": """
        SELECT id FROM job WHERE (progress_at IS NOT NULL AND (progress IS NULL OR claimed_at IS NULL))
           OR (progress_at IS NULL AND (progress IS NOT NULL OR progress_note IS NOT NULL))
           OR progress < 0 OR progress > 1""",
    "tick_without_schedule": """
        SELECT DISTINCT t.schedule_id AS id FROM cron_tick AS t
         WHERE NOT EXISTS (SELECT 1 FROM schedule AS s WHERE s.id = t.schedule_id)""",
    "job_of_two_ticks": """
        SELECT job_id AS id FROM cron_tick WHERE job_id IS NOT NULL GROUP BY job_id HAVING count(*) > 1""",
    "unknown_state": """
        SELECT id FROM job
         WHERE state NOT IN ('ready', 'dispatched', 'running', 'completed', 'dead', 'cancelled')""",
}  # fmt: skip
_TALLY = "SELECT coalesce(sum(accepted), 0) AS accepted, coalesce(sum(purged), 0) AS purged FROM job_tally"
# Asked only when rows are missing. Attempts outlive purged jobs, but purging takes the oldest; these are the newest.
_ORPHANS = """
    SELECT a.job_id AS id, max(a.finished_at) AS last FROM job_attempt AS a
     WHERE NOT EXISTS (SELECT 1 FROM job AS j WHERE j.id = a.job_id)
     GROUP BY a.job_id ORDER BY last DESC LIMIT :most
"""
# Ids are made as time goes: the greatest are the newest.
_LINKS = """
    SELECT DISTINCT l.{column} AS id FROM {table} AS l
     WHERE l.{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job AS j WHERE j.id = l.{column})
     ORDER BY 1 DESC LIMIT :most
"""
LINKS = (("cron_tick", "job_id"), ("job_action", "job_id"))
_STATES = "SELECT state, count(*) AS n FROM job GROUP BY state"


@dataclass
class Audit:
    accepted: int
    purged: int
    rows: int
    states: dict[str, int]
    broken: dict[str, list[str]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Accepted jobs that are neither there nor purged; negative when there are rows that nobody accepted."""
        return self.accepted - self.purged - self.rows

    @property
    def ok(self) -> bool:
        return self.lost == 0 and not self.broken

    def report(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "accepted": self.accepted,
            "rows": self.rows,
            "purged": self.purged,
            "lost": self.lost,
            "jobs": self.states,
            "broken": self.broken,
        }


async def audit(database: Database, links: Sequence[tuple[str, str]] = ()) -> Audit:
    """One consistent snapshot; at most IDS_SHOWN ids of each broken check. `links`: columns that name jobs."""
    async with database.reader.connect() as connection:
        if database.dialect == "postgres":
            await connection.execution_options(isolation_level="REPEATABLE READ")
        states = {row.state: int(row.n) for row in await connection.execute(text(_STATES))}
        tally = (await connection.execute(text(_TALLY))).one()
        found = Audit(int(tally.accepted), int(tally.purged), sum(states.values()), states)
        for name, query in CHECKS.items():
            await _look(connection, found, name, f"{query} LIMIT {IDS_SHOWN}")
        if found.lost > 0:
            most = min(found.lost, IDS_SHOWN)
            await _look(connection, found, "attempt_without_job", _ORPHANS, most=most)
            for table, column in (*LINKS, *links):
                query = _LINKS.format(table=table, column=column)
                await _look(connection, found, f"{table}_without_job", query, most=most)
        return found


async def _look(connection: AsyncConnection, found: Audit, name: str, query: str, **values: Any) -> None:
    ids = [row.id for row in await connection.execute(text(query), values)]
    if ids:
        found.broken[name] = sorted(ids)
