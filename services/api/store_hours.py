"""Every statement on counted hours and on the mark of how far they are counted."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Row, Statement
from shared.db.sweep import Sweep

MARK = "hours"
COUNTS = (
    "completed", "dead", "cancelled", "retries", "ran", "run_us_sum", "run_us_max", "wait_us_sum", "wait_us_max",
)  # fmt: skip
_COLUMNS = f"tenant, hour, task, {', '.join(COUNTS)}"
_READ_MARK = Statement("read_mark", "SELECT at FROM api_marks WHERE name = :name")
_FIRST_MARK = Statement(
    "first_mark", "INSERT INTO api_marks (name, at) VALUES (:name, :at) ON CONFLICT (name) DO NOTHING RETURNING at"
)
_MOVE_MARK = Statement("move_mark", "UPDATE api_marks SET at = :at WHERE name = :name AND at = :seen RETURNING at")
_CLEAR = Statement("clear_hour", "DELETE FROM api_hourly WHERE hour = :hour")
_INSERT = Statement(
    "insert_hour",
    f"INSERT INTO api_hourly ({_COLUMNS}) SELECT {_COLUMNS} FROM {{rows}} AS i",
    rows={"tenant": "text", "hour": "bigint", "task": "text", **dict.fromkeys(COUNTS, "bigint")},
)
_LOOK = Statement(
    "sweep_look_hours",
    """
    SELECT hour, tenant, task FROM api_hourly
     WHERE hour < :before AND hour >= :after_hour AND (hour, tenant, task) > (:after_hour, :after_tenant, :after_task)
     ORDER BY hour, tenant, task LIMIT :limit
    """,
)
_DELETE = Statement(
    "sweep_hours",
    """
    DELETE FROM api_hourly WHERE (tenant, hour, task) IN (SELECT tenant, hour, task FROM {rows} AS i) RETURNING task
    """,
    rows={"hour": "bigint", "tenant": "text", "task": "text"},
)


async def read_mark(database: Database) -> int | None:
    rows = await database.fetch(_READ_MARK, {"name": MARK})
    return int(rows[0]["at"]) if rows else None


async def write_hour(database: Database, hour_us: int, counted: Sequence[Row], *, seen: int | None, mark: int) -> bool:
    """Its rows take the place of those that there are, and the mark moves on; False when it is not `seen` any more."""
    rows = [(row["tenant"], hour_us, row["task"], *(row[name] for name in COUNTS)) for row in counted]
    async with database.transaction() as connection:
        move = _FIRST_MARK if seen is None else _MOVE_MARK
        if not await connection.fetch(move, {"name": MARK, "at": mark, "seen": seen}):
            return False
        await connection.fetch(_CLEAR, {"hour": hour_us})
        if rows:
            await connection.fetch(_INSERT, None, rows)
    return True


async def list_hours(
    database: Database,
    tenant: str,
    *,
    from_us: int,
    until_us: int,
    task: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> Sequence[Mapping[str, Any]]:
    """By hour and task, those whose hour begins at or after `from_us` and before `until_us`."""
    values: dict[str, Any] = {"tenant": tenant, "from_us": from_us, "until_us": until_us, "limit": limit}
    where = ["tenant = :tenant", "hour >= :from_us", "hour < :until_us"]
    if task is not None:
        where.append("task = :task")
        values["task"] = task
    if after is not None:
        where.append("(hour, task) > (:after_hour, :after_task)")
        values["after_hour"], values["after_task"] = after
    query = text(f"SELECT * FROM api_hourly WHERE {' AND '.join(where)} ORDER BY hour, task LIMIT :limit")
    async with database.reader.connect() as connection:
        return [dict(row) for row in (await connection.execute(query, values)).mappings()]


def hour_sweep(before_us: int) -> Sweep:
    return Sweep("api_hourly", _LOOK, _DELETE, ("hour", "tenant", "task"), (0, "", ""), {"before": before_us})
