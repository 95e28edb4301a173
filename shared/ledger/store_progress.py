"""Progress in the ledger: written for a group of running attempts, read for many watched jobs at once.

A report is written only while id, fence, incarnation and `running` all match: that of a stale attempt changes nothing.
The claim of the next attempt clears it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.db.engine import Database
from shared.db.sql import Connection, Statement
from shared.ledger.progress import Key, Report

WATCH_LIMIT = 10_000  # ids of one look

WRITE_PROGRESS = Statement(
    "write_progress",
    """
    UPDATE job SET progress = i.fraction, progress_note = i.note, progress_at = i.at
      FROM {rows} AS i
     WHERE job.id = i.id AND job.fence = i.fence AND job.incarnation = i.incarnation AND {guard:job.state} = 'running'
    RETURNING job.id, job.fence
    """,
    rows={
        "id": "text", "fence": "integer", "incarnation": "text",
        "fraction": "float8", "note": "text", "at": "bigint",
    },
)  # fmt: skip

WATCHED = Statement(
    "watched_jobs",
    """
    SELECT id, state, run_at, waits_for, attempt, max_attempts, fence, claimed_at, finished_at,
           progress, progress_note, progress_at, output_chunks
      FROM job WHERE id {any:ids}
    """,
)


async def write_progress(connection: Connection, reports: Iterable[tuple[Key, Report]]) -> set[tuple[str, int]]:
    """(id, fence) of those that were written; the others are stale, or have ended."""
    rows = [(*key, report.fraction, report.note, report.at) for key, report in reports]
    return {(row["id"], row["fence"]) for row in await connection.fetch(WRITE_PROGRESS, None, rows)}


async def read_watched(database: Database, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """What a watcher compares, by id, of those that are there; never the writer's turn. At most WATCH_LIMIT ids."""
    values = WATCHED.bind(database.dialect, {"ids": sorted(ids)[:WATCH_LIMIT]}, ())
    async with database.reader.connect() as connection:
        found = await connection.exec_driver_sql(WATCHED.sql(database.dialect), values)
        return {row["id"]: dict(row) for row in found.mappings()}
