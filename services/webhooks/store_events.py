"""Every statement on events, and on the link from events to the jobs that deliver them.

The inserts are for the hot path and repeatable: an ambiguous commit is written again. Reads for people walk an index
from a cursor, never leave their tenant, and take a delivery's state from its job.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import text

from services.webhooks.events import Subscription, Subscriptions
from services.webhooks.patterns import Matcher
from services.webhooks.retry import policy_of
from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.db.sweep import Sweep
from shared.kernel.ids import id_floor

INSERT_EVENTS = Statement(
    "insert_events",
    """
    INSERT INTO webhooks_events (id, tenant, type, body, ordering_key, created_at)
    SELECT id, tenant, type, body, ordering_key, created_at FROM {rows} AS i WHERE true
    ON CONFLICT (id) DO NOTHING RETURNING id
    """,
    rows={
        "id": "text", "tenant": "text", "type": "text", "body": "text", "ordering_key": "text", "created_at": "bigint",
    },
)  # fmt: skip
INSERT_DELIVERIES = Statement(
    "insert_deliveries",
    """
    INSERT INTO webhooks_deliveries (event_id, endpoint_id, job_id)
    SELECT event_id, endpoint_id, job_id FROM {rows} AS i WHERE true
    ON CONFLICT (event_id, endpoint_id) DO NOTHING
    """,
    rows={"event_id": "text", "endpoint_id": "text", "job_id": "text"},
)
SUBSCRIPTIONS = Statement(
    "read_subscriptions",
    """
    SELECT id, tenant, event_types, retry_schedule_s, timeout_s FROM webhooks_endpoints
     WHERE tenant {any:tenants} AND enabled ORDER BY tenant, id
    """,
)
BODIES = Statement("read_bodies", "SELECT id, body FROM webhooks_events WHERE id {any:ids}")
_LOOK_EVENTS = Statement(
    "sweep_look_events",
    "SELECT id FROM webhooks_events WHERE id < :floor AND id > :after_id ORDER BY id LIMIT :limit",
)
_DELETE_EVENTS = Statement(
    "sweep_events",
    """
    DELETE FROM webhooks_events WHERE id IN (SELECT id FROM {rows} AS i) AND created_at < :before
       AND NOT EXISTS (SELECT 1 FROM webhooks_deliveries AS d JOIN job AS j ON j.id = d.job_id
                        WHERE d.event_id = webhooks_events.id AND j.state NOT IN ('completed', 'cancelled'))
    RETURNING id
    """,
    rows={"id": "text"},
)
_DELETE_LINKS = Statement("sweep_links", "DELETE FROM webhooks_deliveries WHERE event_id {any:ids} RETURNING job_id")
_OWNER = Statement("event_tenant", "SELECT tenant FROM webhooks_events WHERE id = :id")
_EVENT = text("SELECT * FROM webhooks_events WHERE id = :id AND tenant = :tenant")
_STATES = text(
    """
    SELECT j.state, count(*) AS count FROM webhooks_deliveries AS d JOIN job AS j ON j.id = d.job_id
     WHERE d.event_id = :id GROUP BY j.state
    """
)


async def read_subscriptions(connection: Connection, tenants: Sequence[str]) -> dict[str, Subscriptions]:
    """Who is to be told of what, by tenant; a tenant without endpoints has an empty matcher."""
    pairs: dict[str, list[tuple[list[str], Subscription]]] = {tenant: [] for tenant in tenants}
    for row in await connection.fetch(SUBSCRIPTIONS, {"tenants": list(tenants)}):
        schedule = orjson.loads(row["retry_schedule_s"]) if row["retry_schedule_s"] else None
        subscription = Subscription(row["id"], policy_of(schedule).max_attempts, row["timeout_s"])
        pairs[row["tenant"]].append((orjson.loads(row["event_types"]), subscription))
    return {tenant: Matcher(found) for tenant, found in pairs.items()}


async def read_bodies(connection: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    """The bytes that are sent, by event id."""
    return {row["id"]: row["body"].encode() for row in await connection.fetch(BODIES, {"ids": list(ids)})}


async def event_tenant(connection: Connection, event_id: str) -> str | None:
    rows = await connection.fetch(_OWNER, {"id": event_id})
    return rows[0]["tenant"] if rows else None


async def find_event(database: Database, event_id: str, tenant: str) -> Mapping[str, Any] | None:
    """The row, and `states`: how many of its deliveries are in which stored state."""
    async with database.reader.connect() as connection:
        row = (await connection.execute(_EVENT, {"id": event_id, "tenant": tenant})).mappings().first()
        if row is None:
            return None
        states = (await connection.execute(_STATES, {"id": event_id})).mappings().all()
    return {**row, "states": {state["state"]: state["count"] for state in states}}


def event_sweep(before_us: int) -> Sweep:
    """Events that were accepted before then, and their links; not those that a delivery may still send."""
    values = {"before": before_us, "floor": id_floor("evt", before_us)}
    return Sweep("webhooks_events", _LOOK_EVENTS, _DELETE_EVENTS, ("id",), ("",), values, gone=_delete_links)


async def _delete_links(connection: Connection, went: Sequence[Row]) -> Mapping[str, int]:
    links = await connection.fetch(_DELETE_LINKS, {"ids": [row["id"] for row in went]})
    return {"webhooks_deliveries": len(links)}
