"""Every statement on fan-outs: begun with their event, moved on with each batch of deliveries, shown, ended.

`move` is what makes a fan-out harmless to repeat: the cursor goes from the endpoint that this batch began after to its
last one, or not at all, in the transaction that makes the batch's deliveries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.webhooks.store_events import LINK_NEW
from shared.db.sql import Connection, Row, Statement

BEGIN = Statement(
    "begin_fanouts",
    """
    INSERT INTO webhooks_fanouts (event_id, job_id, after, matched, made, total, seen)
    SELECT event_id, job_id, '', matched, made, 0, 0 FROM {rows} AS i WHERE true
    ON CONFLICT (event_id) DO NOTHING
    """,
    rows={"event_id": "text", "job_id": "text", "matched": "integer", "made": "integer"},
)
_LOOK = Statement(
    "look_at_fanout",
    """
    SELECT f.after, f.made, f.seen, f.finished_at, e.tenant, e.type, e.body, e.ordering_key, e.channels, e.created_at
      FROM webhooks_fanouts AS f JOIN webhooks_events AS e ON e.id = f.event_id WHERE f.event_id = :event_id
    """,
)
_COUNT = Statement("count_for_fanout", "SELECT count(*) AS count FROM webhooks_endpoints WHERE tenant = :tenant")
_MOVE = Statement(
    "move_fanout",
    """
    UPDATE webhooks_fanouts SET after = :to, seen = seen + :seen, made = made + :made, total = :total
     WHERE event_id = :event_id AND after = :after AND finished_at IS NULL RETURNING event_id
    """,
)
_MADE = Statement("made_by_fanout", "UPDATE webhooks_fanouts SET made = made - :less WHERE event_id = :event_id")
_END = Statement(
    "end_fanout",
    "UPDATE webhooks_fanouts SET finished_at = coalesce(finished_at, :now), total = seen WHERE event_id = :event_id",
)


_LINKED = Statement(
    "linked_by_fanout",
    "SELECT job_id FROM webhooks_deliveries WHERE event_id = :event_id AND job_id {any:jobs}",
)


async def look(connection: Connection, event_id: str) -> Row | None:
    """Where the fan-out is, and its event; None when either is gone."""
    rows = await connection.fetch(_LOOK, {"event_id": event_id})
    return rows[0] if rows else None


async def count_endpoints_of(connection: Connection, tenant: str) -> int:
    return int((await connection.fetch(_COUNT, {"tenant": tenant}))[0]["count"])


async def move(connection: Connection, event_id: str, **values: Any) -> bool:
    """False when somebody else has moved it: then nothing of this batch may be made."""
    return bool(await connection.fetch(_MOVE, {"event_id": event_id, **values}))


async def link_new(connection: Connection, links: Sequence[tuple[str, str, str]]) -> set[str]:
    """The jobs whose deliveries were not there yet."""
    return {row["job_id"] for row in await connection.fetch(LINK_NEW, None, links)} if links else set()


async def linked(connection: Connection, event_id: str, links: Sequence[tuple[str, str, str]]) -> set[str]:
    """Which of these jobs are those of their deliveries."""
    rows = await connection.fetch(_LINKED, {"event_id": event_id, "jobs": [job for _, _, job in links]})
    return {row["job_id"] for row in rows}


async def take_back(connection: Connection, event_id: str, less: int) -> None:
    await connection.fetch(_MADE, {"event_id": event_id, "less": less})


async def end(connection: Connection, event_id: str, now_us: int) -> None:
    await connection.fetch(_END, {"event_id": event_id, "now": now_us})


def shown(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`endpoints` are those that were looked at, of all that the tenant has; `made` the deliveries so far."""
    if row is None:
        return None
    return {
        "job": row["job_id"],
        "matched": row["matched"],
        "made": row["made"],
        "endpoints_seen": row["seen"],
        "endpoints_total": row["total"] or None,
        "finished": row["finished_at"] is not None,
    }
