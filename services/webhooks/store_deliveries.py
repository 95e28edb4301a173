"""Reading deliveries: ledger jobs of one task, found by endpoint, by event or by tenant, with their attempts.

Lists walk an index of ids, newest first, from a cursor: `(endpoint_id, job_id)` and `(event_id, …)` of the link, or
the ledger's `(tenant, id)`. The job's tenant decides who may see it. Nothing here writes: the ledger's stores do.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import orjson
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.contracts.commands.webhooks import DeliverWebhook
from shared.db.engine import Database
from shared.db.sql import Connection, Statement
from shared.ledger.states import shown_state
from shared.ledger.store_read import read_attempts, read_job

Shown = Literal["scheduled", "queued", "retrying", "running", "completed", "dead", "cancelled"]
# What `shared.ledger.states.shown_state` says, as conditions. Literals, so that partial indexes serve them.
_WHERE: Final[Mapping[str, str]] = {
    "scheduled": "j.state = 'ready' AND j.attempt = 0 AND j.run_at > :now",
    "queued": "(j.state = 'dispatched' OR (j.state = 'ready' AND j.attempt = 0 AND j.run_at <= :now))",
    "retrying": "j.state = 'ready' AND j.attempt > 0",
    "running": "j.state = 'running'",
    "completed": "j.state = 'completed'",
    "dead": "j.state = 'dead'",
    "cancelled": "j.state = 'cancelled'",
}
_STATE = Statement(
    "delivery_state", "SELECT state, run_at, attempt FROM job WHERE id = :id AND tenant = :tenant AND task = :task"
)
_TYPES = text("SELECT id, type FROM webhooks_events WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))


async def list_deliveries(
    database: Database,
    tenant: str,
    *,
    endpoint_id: str | None = None,
    event_id: str | None = None,
    state: Shown | None = None,
    before: str | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """Job rows, each with `event_id`, `endpoint_id` and `event_type` (None when the event is gone)."""
    values: dict[str, Any] = {"tenant": tenant, "limit": limit}
    linked = endpoint_id is not None or event_id is not None
    source = "webhooks_deliveries AS d JOIN job AS j ON j.id = d.job_id" if linked else "job AS j"
    key = "d.job_id" if linked else "j.id"
    where = ["j.tenant = :tenant", f"j.task = '{DeliverWebhook.task}'"]
    filters = (
        ("d.endpoint_id =", "endpoint", endpoint_id),
        ("d.event_id =", "event", event_id),
        (f"{key} <", "before", before),
    )
    for test, name, value in filters:
        if value is not None:
            where.append(f"{test} :{name}")
            values[name] = value
    if state is not None:
        where.append(_WHERE[state])
        if ":now" in _WHERE[state]:
            values["now"] = database.clock.now_us()
    order = "d.job_id DESC" if linked else "j.tenant DESC, j.id DESC"
    query = text(f"SELECT j.* FROM {source} WHERE {' AND '.join(where)} ORDER BY {order} LIMIT :limit")
    async with database.reader.connect() as connection:
        rows = [dict(row) for row in (await connection.execute(query, values)).mappings()]
        return await _with_events(connection, rows)


async def read_delivery(
    database: Database, job_id: str, tenant: str
) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]] | None:
    """The row as in `list_deliveries`, and its attempts, oldest first; None when it is no delivery of this tenant."""
    job = await read_job(database, job_id, tenant)
    if job is None or job["task"] != DeliverWebhook.task:
        return None
    async with database.reader.connect() as connection:
        (row,) = await _with_events(connection, [dict(job)])
    return row, await read_attempts(database, job_id)


async def delivery_state(connection: Connection, job_id: str, tenant: str, now_us: int) -> str | None:
    """The state as it is shown; None when it is no delivery of this tenant."""
    rows = await connection.fetch(_STATE, {"id": job_id, "tenant": tenant, "task": DeliverWebhook.task})
    return shown_state(rows[0]["state"], rows[0]["run_at"], rows[0]["attempt"], now_us) if rows else None


async def _with_events(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    args = [orjson.loads(row["args"]) for row in rows]
    ids = sorted({one["event_id"] for one in args})
    found = await connection.execute(_TYPES, {"ids": ids}) if ids else ()
    types = {row.id: row.type for row in found}
    return [
        {**row, **one, "event_type": types.get(one["event_id"])}  # the arguments are the two ids
        for row, one in zip(rows, args, strict=True)
    ]
