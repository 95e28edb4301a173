"""Schedules and their ticks: every write is conditional on what its writer had seen, so that many may do the same.

A tick is one row of (schedule, instant); whoever writes the row makes its job, in that transaction. `next_at` moves by
compare-and-set on itself and on `updated_at`, which is when the definition or its pause last changed. Ticks are kept
for KEEP_US, the latest of a schedule always.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.kernel.clock import SECOND_US

KEEP_US = 48 * 3600 * SECOND_US
PURGE_BATCH = 500
SCHEDULES_MOST = 1_000
CODE, GONE = "code", "gone"  # `source`: it stands on a command class, or no longer does

_COLUMNS = "id, task, queue, tenant, cron, time_zone, args, missed, catch_up, paused, source, next_at, updated_at"
READ_ALL = Statement("schedules", f"SELECT {_COLUMNS} FROM schedule ORDER BY id LIMIT {SCHEDULES_MOST}")
MADE_AFTER = Statement("ticks_made", "SELECT schedule_id, tick_at FROM cron_tick WHERE tick_at > :after LIMIT 10000")
INSERT = Statement(
    "schedule_insert",
    """
    INSERT INTO schedule (id, task, queue, tenant, cron, time_zone, args, missed, catch_up, paused, source, next_at,
                          updated_at)
    VALUES (:id, :task, :queue, :tenant, :cron, :time_zone, :args, :missed, :catch_up, FALSE, 'code', :next_at, :now)
    ON CONFLICT (id) DO NOTHING RETURNING id
    """,
)
_SEEN = "updated_at = :seen_updated AND coalesce(next_at, -1) = coalesce(CAST(:seen_next AS bigint), -1)"
UPDATE = Statement(
    "schedule_update",
    f"""
    UPDATE schedule SET task = :task, queue = :queue, tenant = :tenant, cron = :cron, time_zone = :time_zone,
           args = :args, missed = :missed, catch_up = :catch_up, source = :source, next_at = :next_at, updated_at = :now
     WHERE id = :id AND {_SEEN} RETURNING id
    """,
)
HOLD = Statement("schedule_hold", f"UPDATE schedule SET paused = paused WHERE id = :id RETURNING {_COLUMNS}")
PAUSE = Statement(
    "schedule_pause", "UPDATE schedule SET paused = :paused, next_at = :next_at, updated_at = :now WHERE id = :id"
)
UPCOMING = Statement(
    "schedules_due",
    f"""
    SELECT {_COLUMNS} FROM schedule
     WHERE queue {{any:queues}} AND source = 'code' AND NOT paused AND next_at <= :until
     ORDER BY next_at, id LIMIT {SCHEDULES_MOST}
    """,
)
ADVANCE = Statement(
    "schedule_advance",
    f"UPDATE schedule SET next_at = :next_at WHERE id = :id AND NOT paused AND {_SEEN} RETURNING id",
)
INSERT_TICKS = Statement(
    "cron_ticks",
    """
    INSERT INTO cron_tick (schedule_id, tick_at, job_id, missed)
    SELECT schedule_id, tick_at, job_id, missed FROM {rows} AS i WHERE true
    ON CONFLICT (schedule_id, tick_at) DO NOTHING RETURNING tick_at
    """,
    rows={"schedule_id": "text", "tick_at": "bigint", "job_id": "text", "missed": "integer"},
)
FORGET_JOB = Statement(
    "cron_forget_job",
    "UPDATE cron_tick SET job_id = NULL WHERE schedule_id = :id AND tick_at = CAST(:tick AS bigint)",
)
FORGET = Statement(
    "cron_forget",
    f"""
    DELETE FROM cron_tick WHERE schedule_id = :id AND tick_at IN (
           SELECT tick_at FROM cron_tick WHERE schedule_id = :id AND tick_at < :before
            ORDER BY tick_at LIMIT {PURGE_BATCH})
    """,
)
_IF_ONE = "WHERE CAST(:id AS text) IS NULL OR schedule.id = CAST(:id AS text)"
_LAST = """
    SELECT t.schedule_id, t.tick_at, t.job_id, t.missed, j.state, j.run_at, j.attempt
      FROM schedule
      JOIN cron_tick AS t ON t.schedule_id = schedule.id
       AND t.tick_at = (SELECT max(tick_at) FROM cron_tick WHERE schedule_id = schedule.id)
      LEFT JOIN job AS j ON j.id = t.job_id
"""


@dataclass(frozen=True, slots=True)
class Tick:
    """One to be written: its job's id, or None, and how many before it made none."""

    at_us: int
    job_id: str | None
    missed: int = 0


async def read_schedules(connection: Connection) -> Sequence[Row]:
    return await connection.fetch(READ_ALL)


async def hold_schedule(connection: Connection, schedule_id: str) -> Row | None:
    """Read one that stays as it is until the caller's transaction ends; None when there is none."""
    rows = await connection.fetch(HOLD, {"id": schedule_id})
    return rows[0] if rows else None


async def made_after(connection: Connection, after_us: int) -> dict[str, set[int]]:
    """Ticks later than `after_us` that have been decided: a clock was ahead, and has been set back."""
    made: dict[str, set[int]] = {}
    for row in await connection.fetch(MADE_AFTER, {"after": after_us}):
        made.setdefault(row["schedule_id"], set()).add(row["tick_at"])
    return made


async def insert_schedule(connection: Connection, definition: Mapping[str, Any], next_us: int, now_us: int) -> bool:
    return bool(await connection.fetch(INSERT, {**definition, "next_at": next_us, "now": now_us}))


async def update_schedule(
    connection: Connection, seen: Row, definition: Mapping[str, Any], next_us: int | None, now_us: int
) -> bool:
    """False when somebody else has changed it since it was `seen`; what people decided stays."""
    values = {name: seen[name] for name in _DEFINITION} | {"source": seen["source"], **definition}
    return bool(await connection.fetch(UPDATE, {**values, **_seen(seen), "next_at": next_us, "now": now_us}))


async def pause_schedule(
    connection: Connection, schedule_id: str, *, paused: bool, next_us: int | None, now_us: int
) -> None:
    """Of one that is held: who was about to tick it finds it changed."""
    await connection.fetch(PAUSE, {"id": schedule_id, "paused": paused, "next_at": next_us, "now": now_us})


async def upcoming(connection: Connection, queues: Sequence[str], until_us: int) -> Sequence[Row]:
    """Schedules of these queues whose next tick comes until then, the earliest first."""
    return await connection.fetch(UPCOMING, {"queues": list(queues), "until": until_us})


async def decide_ticks(
    connection: Connection, seen: Row, decided: Sequence[Tick], next_us: int, now_us: int
) -> set[int] | None:
    """Move on to `next_us` and write the ticks; the instants that were new. None: somebody else has moved on before."""
    if not await connection.fetch(ADVANCE, {**_seen(seen), "next_at": next_us}):
        return None
    rows = [(seen["id"], tick.at_us, tick.job_id, tick.missed) for tick in decided]
    new = {row["tick_at"] for row in await connection.fetch(INSERT_TICKS, None, rows)}
    before = min(now_us - KEEP_US, max(tick.at_us for tick in decided))
    await connection.fetch(FORGET, {"id": seen["id"], "before": before})
    return new


async def forget_job(connection: Connection, schedule_id: str, tick_us: int) -> None:
    """Of a tick that made no job of its own after all."""
    await connection.fetch(FORGET_JOB, {"id": schedule_id, "tick": tick_us})


async def list_schedules(database: Database, schedule_id: str | None = None) -> Sequence[Mapping[str, Any]]:
    """All of them, or the one, for people."""
    query = text(f"SELECT {_COLUMNS} FROM schedule {_IF_ONE} ORDER BY id LIMIT {SCHEDULES_MOST}")
    async with database.reader.connect() as connection:
        return [dict(row) for row in (await connection.execute(query, {"id": schedule_id})).mappings()]


async def last_ticks(database: Database, schedule_id: str | None = None) -> dict[str, Mapping[str, Any]]:
    """The latest tick of every schedule, or of one, with the state of its job while there is one."""
    query = text(f"{_LAST} {_IF_ONE}")
    async with database.reader.connect() as connection:
        rows = (await connection.execute(query, {"id": schedule_id})).mappings()
        return {row["schedule_id"]: dict(row) for row in rows}


_DEFINITION = ("id", "task", "queue", "tenant", "cron", "time_zone", "args", "missed", "catch_up")


def _seen(row: Row) -> dict[str, Any]:
    return {"id": row["id"], "seen_updated": row["updated_at"], "seen_next": row["next_at"]}
