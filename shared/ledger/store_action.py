"""What callers decided about jobs, kept in the transaction that did it: who, what, when, and what it was before.

Append-only. An action about one job carries its id and is shown with the job; one about many names them in `target`.
`target` and `outcome` are JSON; the outcome holds what the decision has taken away, such as the arguments of before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Connection, Statement
from shared.kernel.ids import new_id

SHOWN_MOST = 50

NOTE_ACTION = Statement(
    "note_action",
    """
    INSERT INTO job_action (id, tenant, caller, action, job_id, target, outcome, at)
    VALUES (:id, :tenant, :caller, :action, :job_id, :target, :outcome, :at)
    """,
)
_OF_JOB = text(
    """
    SELECT id, caller, action, outcome, at FROM job_action
     WHERE job_id = :job_id AND job_id IS NOT NULL AND tenant = :tenant ORDER BY id DESC LIMIT :most
    """
)
_COLUMNS = "SELECT id, caller, action, job_id, target, outcome, at FROM job_action WHERE tenant = :tenant"
_PAGES = {
    False: text(f"{_COLUMNS} ORDER BY id DESC LIMIT :limit"),
    True: text(f"{_COLUMNS} AND id < :before ORDER BY id DESC LIMIT :limit"),
}
_ONE = text(f"{_COLUMNS} AND id = :id")


async def note_action(
    connection: Connection,
    *,
    tenant: str,
    caller: str,
    action: str,
    at_us: int,
    job_id: str | None = None,
    target: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
) -> str:
    """`caller` is an API key's id; `action` a verb (`cancel`, `retry`, `change`, `discard`). Returns its id.

    Where a job acts for a caller, the job's id is the caller: who made that job stands in an action of its own.
    """
    action_id = new_id("act")
    aim: Mapping[str, Any] = {"ids": [job_id]} if target is None and job_id is not None else target or {}
    values = {
        "id": action_id, "tenant": tenant, "caller": caller, "action": action, "job_id": job_id,
        "target": orjson.dumps(aim).decode(), "outcome": orjson.dumps(outcome or {}).decode(), "at": at_us,
    }  # fmt: skip
    await connection.fetch(NOTE_ACTION, values)
    return action_id


async def read_actions(database: Database, job_id: str, tenant: str) -> Sequence[Mapping[str, Any]]:
    """About this one job, the newest SHOWN_MOST, oldest first; `outcome` is what JSON said."""
    async with database.reader.connect() as connection:
        values = {"job_id": job_id, "tenant": tenant, "most": SHOWN_MOST}
        rows = [dict(row) for row in (await connection.execute(_OF_JOB, values)).mappings()]
    return [{**row, "outcome": orjson.loads(row["outcome"])} for row in rows[::-1]]


async def list_actions(
    database: Database, tenant: str, *, before: str | None = None, limit: int = 50
) -> Sequence[Mapping[str, Any]]:
    """All of a tenant, newest first, from before the cursor."""
    after = {} if before is None else {"before": before}
    async with database.reader.connect() as connection:
        found = await connection.execute(_PAGES[before is not None], {"tenant": tenant, "limit": limit, **after})
        return [_read(dict(row)) for row in found.mappings()]


async def read_action(database: Database, action_id: str, tenant: str) -> Mapping[str, Any] | None:
    async with database.reader.connect() as connection:
        row = (await connection.execute(_ONE, {"id": action_id, "tenant": tenant})).mappings().first()
    return _read(dict(row)) if row else None


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "target": orjson.loads(row["target"]), "outcome": orjson.loads(row["outcome"])}
