"""Every statement of asking why, and of asking what there was: one event and one endpoint, and an endpoint's events."""

from collections.abc import Sequence

from shared.db.sql import Connection, Row, Statement

LINKS_MOST = 20
_LINKS = Statement(
    "explain_links",
    """
    SELECT d.job_id, d.sequence, 0 AS again FROM webhooks_deliveries AS d
     WHERE d.event_id = :event AND d.endpoint_id = :endpoint
    UNION ALL
    SELECT r.job_id, NULL, 1 FROM webhooks_redeliveries AS r
     WHERE r.event_id = :event AND r.endpoint_id = :endpoint
     ORDER BY job_id DESC LIMIT :limit
    """,
)
_JOB = Statement("explain_job", "SELECT * FROM job WHERE id = :id AND tenant = :tenant")
_LANE = Statement(
    "explain_lane",
    "SELECT paused_at, held_until FROM lane WHERE queue = :queue AND tenant = :tenant AND name = :name",
)
_SPREADING = Statement(
    "explain_fanout", "SELECT event_id FROM webhooks_fanouts WHERE event_id = :event AND finished_at IS NULL"
)
_BY_NUMBER = Statement(
    "poll_by_number",
    """
    SELECT d.event_id, d.job_id, d.sequence, e.type, e.body, e.created_at, e.erased_at, j.state, j.run_at, j.attempt
      FROM webhooks_deliveries AS d JOIN webhooks_events AS e ON e.id = d.event_id
      LEFT JOIN job AS j ON j.id = d.job_id
     WHERE d.endpoint_id = :endpoint AND d.sequence > :after AND d.sequence IS NOT NULL
     ORDER BY d.endpoint_id, d.sequence LIMIT :limit
    """,
)
_BY_JOB = Statement(
    "poll_by_job",
    """
    SELECT d.event_id, d.job_id, d.sequence, e.type, e.body, e.created_at, e.erased_at, j.state, j.run_at, j.attempt
      FROM webhooks_deliveries AS d JOIN webhooks_events AS e ON e.id = d.event_id
      LEFT JOIN job AS j ON j.id = d.job_id
     WHERE d.endpoint_id = :endpoint AND d.job_id > :after
     ORDER BY d.endpoint_id, d.job_id LIMIT :limit
    """,
)
_LINKED = Statement(
    "poll_link",
    "SELECT job_id, sequence FROM webhooks_deliveries WHERE event_id = :event AND endpoint_id = :endpoint",
)
_FIRST_NUMBER = Statement(
    "poll_first_number",
    """
    SELECT sequence FROM webhooks_deliveries WHERE endpoint_id = :endpoint AND sequence IS NOT NULL
     ORDER BY endpoint_id, sequence LIMIT 1
    """,
)


async def links(connection: Connection, event_id: str, endpoint_id: str) -> Sequence[Row]:
    """Newest first; `again` of those that were sent again."""
    values = {"event": event_id, "endpoint": endpoint_id, "limit": LINKS_MOST}
    return await connection.fetch(_LINKS, values)


async def job(connection: Connection, job_id: str, tenant: str) -> Row | None:
    rows = await connection.fetch(_JOB, {"id": job_id, "tenant": tenant})
    return rows[0] if rows else None


async def lane(connection: Connection, queue: str, tenant: str, name: str) -> Row | None:
    rows = await connection.fetch(_LANE, {"queue": queue, "tenant": tenant, "name": name})
    return rows[0] if rows else None


async def is_spreading(connection: Connection, event_id: str) -> bool:
    return bool(await connection.fetch(_SPREADING, {"event": event_id}))


async def poll(
    connection: Connection, endpoint_id: str, *, number: int | None, job_id: str, limit: int
) -> Sequence[Row]:
    """After that number, or after that job."""
    values = {"endpoint": endpoint_id, "limit": limit}
    if number is not None:
        return await connection.fetch(_BY_NUMBER, {**values, "after": number})
    return await connection.fetch(_BY_JOB, {**values, "after": job_id})


async def linked(connection: Connection, event_id: str, endpoint_id: str) -> Row | None:
    """Job and number of an event's first delivery there."""
    rows = await connection.fetch(_LINKED, {"event": event_id, "endpoint": endpoint_id})
    return rows[0] if rows else None


async def first_number(connection: Connection, endpoint_id: str) -> int | None:
    """The least that is kept."""
    rows = await connection.fetch(_FIRST_NUMBER, {"endpoint": endpoint_id})
    return rows[0]["sequence"] if rows else None
