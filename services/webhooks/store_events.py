"""Every statement on events, and on the link from events to the jobs that deliver them.

The inserts are for the hot path and repeatable: an ambiguous commit is written again. Reads for people walk an index
from a cursor, never leave their tenant, and take a delivery's state from its job.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.db.sweep import Sweep
from shared.kernel.ids import id_floor

INSERT_EVENTS = Statement(
    "insert_events",
    """
    INSERT INTO webhooks_events (id, tenant, type, body, ordering_key, channels, created_at)
    SELECT id, tenant, type, body, ordering_key, channels, created_at FROM {rows} AS i WHERE true
    ON CONFLICT (id) DO NOTHING RETURNING id
    """,
    rows={
        "id": "text", "tenant": "text", "type": "text", "body": "text", "ordering_key": "text", "channels": "text",
        "created_at": "bigint",
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
# For those who make jobs of the new ones only; accepting an event waits for no answer.
LINK_NEW = Statement(
    "link_new_deliveries",
    """
    INSERT INTO webhooks_deliveries (event_id, endpoint_id, job_id)
    SELECT event_id, endpoint_id, job_id FROM {rows} AS i WHERE true
    ON CONFLICT (event_id, endpoint_id) DO NOTHING RETURNING event_id, endpoint_id, job_id
    """,
    rows={"event_id": "text", "endpoint_id": "text", "job_id": "text"},
)
BODIES = Statement("read_bodies", "SELECT id, tenant, body FROM webhooks_events WHERE id {any:ids}")
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
       AND NOT EXISTS (SELECT 1 FROM webhooks_redeliveries AS d JOIN job AS j ON j.id = d.job_id
                        WHERE d.event_id = webhooks_events.id AND j.state NOT IN ('completed', 'cancelled'))
       AND NOT EXISTS (SELECT 1 FROM webhooks_fanouts AS f JOIN job AS j ON j.id = f.job_id
                        WHERE f.event_id = webhooks_events.id AND j.state NOT IN ('completed', 'cancelled'))
    RETURNING id
    """,
    rows={"id": "text"},
)
_DELETE_LINKS = Statement("sweep_links", "DELETE FROM webhooks_deliveries WHERE event_id {any:ids} RETURNING job_id")
_DELETE_RELINKS = Statement(
    "sweep_relinks", "DELETE FROM webhooks_redeliveries WHERE event_id {any:ids} RETURNING job_id"
)
_DELETE_FANOUTS = Statement("sweep_fanouts", "DELETE FROM webhooks_fanouts WHERE event_id {any:ids}")
_OWNER = Statement("event_tenant", "SELECT tenant FROM webhooks_events WHERE id = :id")
_EVENT = text("SELECT * FROM webhooks_events WHERE id = :id AND tenant = :tenant")
_FANOUT = text("SELECT * FROM webhooks_fanouts WHERE event_id = :id")
_STATES = text(
    """
    SELECT j.state, count(*) AS count
      FROM (SELECT job_id FROM webhooks_deliveries WHERE event_id = :id UNION ALL
            SELECT job_id FROM webhooks_redeliveries WHERE event_id = :id) AS d JOIN job AS j ON j.id = d.job_id
     GROUP BY j.state
    """
)


class Sent(NamedTuple):
    """The bytes that are sent, and whose they are: who was given an id is not thereby allowed to read what it names."""

    tenant: str
    body: bytes


async def read_sent(connection: Connection, ids: Sequence[str]) -> dict[str, Sent]:
    """By event id, of whichever tenant."""
    found = await connection.fetch(BODIES, {"ids": list(ids)})
    return {row["id"]: Sent(row["tenant"], row["body"].encode()) for row in found}


async def read_bodies(connection: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    """The bytes that are sent, by event id; of rows that were found as the tenant's own."""
    return {event_id: sent.body for event_id, sent in (await read_sent(connection, ids)).items()}


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
        fan_out = (await connection.execute(_FANOUT, {"id": event_id})).mappings().first()
    return {**row, "fan_out": fan_out, "states": {state["state"]: state["count"] for state in states}}


def event_sweep(before_us: int) -> Sweep:
    """Events that were accepted before then, and their links; not those that a delivery may still send."""
    values = {"before": before_us, "floor": id_floor("evt", before_us)}
    return Sweep("webhooks_events", _LOOK_EVENTS, _DELETE_EVENTS, ("id",), ("",), values, gone=_delete_links)


async def _delete_links(connection: Connection, went: Sequence[Row]) -> Mapping[str, int]:
    ids = {"ids": [row["id"] for row in went]}
    await connection.fetch(_DELETE_FANOUTS, ids)
    links = await connection.fetch(_DELETE_LINKS, ids)
    again = await connection.fetch(_DELETE_RELINKS, ids)
    return {"webhooks_deliveries": len(links), "webhooks_redeliveries": len(again)}
