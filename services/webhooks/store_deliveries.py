"""Reading deliveries: ledger jobs of one task, found by endpoint, by event or by tenant, with their attempts.

Lists walk an index of ids, newest first, from a cursor: `(endpoint_id, job_id)` and `(event_id, …)` of the links, or
the ledger's `(tenant, id)`; what is sought is picked from a window of as many ids as a page may cost, so that a page
costs the same however many rows there are and however few of them are sought. The job's tenant decides who may see
it. Nothing here writes: the ledger's stores do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.contracts.commands.webhooks import DeliverWebhook
from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.kernel.ids import id_floor
from shared.ledger.states import shown_state
from shared.ledger.store_read import read_attempts, read_job

Shown = Literal["scheduled", "queued", "retrying", "running", "completed", "dead", "cancelled"]
WINDOW_ROWS: Final = 1_000
WINDOWS_MOST: Final = 10
_LAST: Final = "job_~"  # above every id
_STATE = Statement(
    "delivery_state",
    "SELECT state, run_at, attempt, args FROM job WHERE id = :id AND tenant = :tenant AND task = :task",
)
_WAITING = Statement(
    "waiting_in_lanes",
    f"""
    SELECT lane, id FROM job
     WHERE queue = '{DeliverWebhook.queue}' AND tenant = :tenant AND lane >= :lane AND lane < :end
       AND lane IS NOT NULL AND state IN ('ready', 'dispatched', 'running') AND (lane, id) > (:after_lane, :after_id)
     ORDER BY queue, tenant, lane, id LIMIT :limit
    """,
)
# A job's arguments can be edited: what they name may be another tenant's.
_TYPES = text("SELECT id, tenant, type FROM webhooks_events WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_JOBS = text("SELECT j.* FROM job AS j WHERE j.id IN :ids AND j.tenant = :tenant AND j.task = :task").bindparams(
    bindparam("ids", expanding=True)
)
# The links know no tenant, and a cursor is an id of theirs.
_FOREIGN = text(
    """
    SELECT id FROM webhooks_endpoints WHERE id = :endpoint_id AND tenant <> :tenant UNION ALL
    SELECT id FROM webhooks_deleted WHERE id = :endpoint_id AND tenant <> :tenant UNION ALL
    SELECT id FROM webhooks_events WHERE id = :event_id AND tenant <> :tenant
    """
)
# The newest attempt is that of the job's fence, unless one is under way.
_STATUSES = Statement(
    "delivery_statuses",
    """
    SELECT a.job_id, CAST(a.detail ->> 'status' AS integer) AS status
      FROM job AS j JOIN job_attempt AS a ON a.job_id = j.id AND a.fence = j.fence
     WHERE j.id {any:ids} AND a.detail IS NOT NULL
    """,
    postgres="""
    SELECT a.job_id, CAST(CAST(a.detail AS json) ->> 'status' AS integer) AS status
      FROM job AS j JOIN job_attempt AS a ON a.job_id = j.id AND a.fence = j.fence
     WHERE j.id {any:ids} AND a.detail IS NOT NULL
    """,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`since` and `until` (µs) are of the acceptance; `status` is (least, most) of the newest attempt's answer."""

    endpoint_id: str | None = None
    event_id: str | None = None
    state: Shown | None = None
    since: int | None = None
    until: int | None = None
    status: tuple[int, int] | None = None


async def list_deliveries(
    database: Database, tenant: str, wanted: Wanted, *, before: str | None = None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Job rows, each with `event_id`, `endpoint_id` and `event_type` (None when the event is gone); where it ended.

    The second is the id of the last row that was looked at, None when there is nothing after it: a page may have
    fewer rows than `limit` although others follow.
    """
    found: list[dict[str, Any]] = []
    after = before or _LAST
    if wanted.until is not None:
        after = min(after, id_floor("job", wanted.until + 1_000))  # of the next millisecond: ids know no less
    asked = {"tenant": tenant, "endpoint_id": wanted.endpoint_id or "", "event_id": wanted.event_id or ""}
    async with database.reader.connect() as connection:
        if (await connection.execute(_FOREIGN, asked)).first() is not None:
            return [], None
        for _ in range(WINDOWS_MOST):
            size = WINDOW_ROWS if wanted.state or wanted.status else max(limit - len(found), 1)
            ids = await _window(connection, tenant, wanted, after, size)
            rows = await _picked(connection, database, tenant, wanted, ids)
            found += rows[: limit - len(found)]
            if len(found) >= limit:
                return await _with_events(connection, found), str(found[-1]["id"])
            if len(ids) < size:
                return await _with_events(connection, found), None
            after = ids[-1]
        return await _with_events(connection, found), after


async def _window(connection: AsyncConnection, tenant: str, wanted: Wanted, before: str, size: int) -> Sequence[str]:
    """The next ids after the cursor, newest first, whatever has become of them."""
    floor = id_floor("job", wanted.since) if wanted.since is not None else ""
    values: dict[str, Any] = {"before": before, "floor": floor, "size": size}
    if wanted.endpoint_id is None and wanted.event_id is None:
        values |= {"tenant": tenant, "task": DeliverWebhook.task}
        query = """SELECT id AS job_id FROM job WHERE tenant = :tenant AND id < :before AND id >= :floor
                      AND task = :task ORDER BY tenant DESC, id DESC LIMIT :size"""
        return [row.job_id for row in await connection.execute(text(query), values)]
    tests = {"endpoint_id": wanted.endpoint_id, "event_id": wanted.event_id}
    given = {name: value for name, value in tests.items() if value is not None}
    where = " AND ".join([f"{name} = :{name}" for name in given])
    walks = " UNION ALL ".join(
        f"""SELECT job_id FROM (SELECT job_id FROM {table} WHERE {where} AND job_id < :before AND job_id >= :floor
                                 ORDER BY job_id DESC LIMIT :size) AS {table}"""
        for table in ("webhooks_deliveries", "webhooks_redeliveries")
    )
    query = f"SELECT job_id FROM ({walks}) AS walked ORDER BY job_id DESC LIMIT :size"
    return [row.job_id for row in await connection.execute(text(query), {**values, **given})]


async def _picked(
    connection: AsyncConnection, database: Database, tenant: str, wanted: Wanted, ids: Sequence[str]
) -> list[dict[str, Any]]:
    if not ids:
        return []
    found = await connection.execute(_JOBS, {"ids": list(ids), "tenant": tenant, "task": DeliverWebhook.task})
    now_us = database.clock.now_us()
    rows = sorted((dict(row) for row in found.mappings()), key=lambda row: str(row["id"]), reverse=True)
    rows = [row for row in rows if _is_wanted(row, wanted, now_us)]
    if wanted.status is None or not rows:
        return rows
    values = _STATUSES.bind(database.dialect, {"ids": [row["id"] for row in rows]}, ())
    answered = await connection.exec_driver_sql(_STATUSES.sql(database.dialect), values)
    statuses = {row.job_id: row.status for row in answered}
    least, most = wanted.status
    return [row for row in rows if least <= (statuses.get(row["id"]) or -1) <= most]


def _is_wanted(row: Row, wanted: Wanted, now_us: int) -> bool:
    if wanted.state and shown_state(row["state"], row["run_at"], row["attempt"], now_us) != wanted.state:
        return False
    after = wanted.since is None or row["created_at"] >= wanted.since
    return after and (wanted.until is None or row["created_at"] < wanted.until)


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


async def delivery_state(connection: Connection, job_id: str, tenant: str, now_us: int) -> tuple[str, str, str] | None:
    """The state as it is shown, event and endpoint; None when it is no delivery of this tenant."""
    rows = await connection.fetch(_STATE, {"id": job_id, "tenant": tenant, "task": DeliverWebhook.task})
    if not rows:
        return None
    args = orjson.loads(rows[0]["args"])
    return (
        shown_state(rows[0]["state"], rows[0]["run_at"], rows[0]["attempt"], now_us),
        args["event_id"],
        args["endpoint_id"],
    )


async def waiting_in_lanes(
    connection: Connection, endpoint_id: str, tenant: str, after: tuple[str, str], limit: int
) -> list[tuple[str, str]]:
    """(lane, id) of the endpoint's jobs that have not ended, in its own lane and in those of its keys."""
    values = {"tenant": tenant, "lane": endpoint_id, "end": f"{endpoint_id};", "limit": limit}  # `;` comes after `:`
    rows = await connection.fetch(_WAITING, {**values, "after_lane": after[0], "after_id": after[1]})
    return [(row["lane"], row["id"]) for row in rows]


async def _with_events(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    args = [orjson.loads(row["args"]) for row in rows]
    ids = sorted({one["event_id"] for one in args})
    found = await connection.execute(_TYPES, {"ids": ids}) if ids else ()
    types = {(row.id, row.tenant): row.type for row in found}
    return [
        {**row, **one, "event_type": types.get((one["event_id"], row["tenant"]))}  # the arguments are the two ids
        for row, one in zip(rows, args, strict=True)
    ]
