"""Numbers of deliveries: given when an event is accepted, in the order of the commits, without a gap for each endpoint.

The invariant: whoever gives numbers holds the endpoint's row of `webhooks_sequences` until the commit, so the next one
sees what was given and nobody ever sees number n + 1 committed before n. Three statements of one transaction, in this
order; repeated, they change nothing. A number is the delivery's for good: retries and replays carry the same one.
"""

from collections.abc import Sequence
from typing import Any

from shared.db.sql import Connection, Statement

_LINKS = {"event_id": "text", "endpoint_id": "text", "job_id": "text"}
# In the order of their ids, so that two that want the same rows do not wait for each other.
_LOCK = Statement(
    "lock_sequences",
    """
    INSERT INTO webhooks_sequences (endpoint_id, last)
    SELECT DISTINCT endpoint_id, 0 FROM {rows} AS i WHERE true ORDER BY endpoint_id
    ON CONFLICT (endpoint_id) DO UPDATE SET last = webhooks_sequences.last
    """,
    rows=_LINKS,
)
INSERT_NUMBERED = Statement(
    "insert_numbered",
    """
    INSERT INTO webhooks_deliveries (event_id, endpoint_id, job_id, sequence)
    SELECT i.event_id, i.endpoint_id, i.job_id,
           s.last + row_number() OVER (PARTITION BY i.endpoint_id ORDER BY i.event_id)
      FROM {rows} AS i JOIN webhooks_sequences AS s ON s.endpoint_id = i.endpoint_id
     WHERE NOT EXISTS (SELECT 1 FROM webhooks_deliveries AS o
                        WHERE o.event_id = i.event_id AND o.endpoint_id = i.endpoint_id)
    ON CONFLICT (event_id, endpoint_id) DO NOTHING RETURNING event_id, endpoint_id
    """,
    rows=_LINKS,
)
_ADVANCE = Statement(
    "advance_sequences",
    """
    UPDATE webhooks_sequences
       SET last = (SELECT max(d.sequence) FROM webhooks_deliveries AS d
                    WHERE d.endpoint_id = webhooks_sequences.endpoint_id AND d.sequence IS NOT NULL)
     WHERE endpoint_id IN (SELECT endpoint_id FROM {rows} AS i)
       AND EXISTS (SELECT 1 FROM webhooks_deliveries AS d
                    WHERE d.endpoint_id = webhooks_sequences.endpoint_id AND d.sequence > webhooks_sequences.last)
    """,
    rows=_LINKS,
)
_NUMBERS = Statement(
    "read_numbers",
    """
    SELECT i.event_id, i.endpoint_id, d.sequence
      FROM {rows} AS i JOIN webhooks_deliveries AS d ON d.event_id = i.event_id AND d.endpoint_id = i.endpoint_id
    """,
    rows={"event_id": "text", "endpoint_id": "text"},
)
_LAST = Statement("last_number", "SELECT last FROM webhooks_sequences WHERE endpoint_id = :id")
NO_NUMBER = -1


def numbering(links: Sequence[tuple[str, str, str]]) -> list[tuple[Statement, Sequence[Sequence[Any]]]]:
    """Event, endpoint, job: what writes these links with their numbers."""
    return [(_LOCK, links), (INSERT_NUMBERED, links), (_ADVANCE, links)]


def number_key(event_id: str, endpoint_id: str) -> str:
    return f"{event_id} {endpoint_id}"


async def read_numbers(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """By `number_key`; NO_NUMBER of a delivery that has none."""
    found = await connection.fetch(_NUMBERS, None, [tuple(key.split(" ", 1)) for key in keys])
    return {
        number_key(row["event_id"], row["endpoint_id"]): NO_NUMBER if row["sequence"] is None else row["sequence"]
        for row in found
    }


async def last_number(connection: Connection, endpoint_id: str) -> int:
    """0 when there was none yet."""
    rows = await connection.fetch(_LAST, {"id": endpoint_id})
    return int(rows[0]["last"]) if rows else 0
