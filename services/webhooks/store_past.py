"""Every statement on what was: how endpoints stood, which were deleted, and what of that may go.

`remember` copies the endpoint's row of this very transaction, whoever changed it and how; doing it again changes
nothing. The newest terms of an endpoint stay as long as it does: events of later are judged by them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.db.sql import Connection, Row, Statement
from shared.db.sweep import Sweep
from shared.db.tx import Tx

TERMS_MOST: Final = 500
_REMEMBER = Statement(
    "remember_terms",
    """
    INSERT INTO webhooks_terms (endpoint_id, version, at, enabled, disabled_reason, event_types, filter, channels)
    SELECT id, version, updated_at, enabled, disabled_reason, event_types, filter, channels
      FROM webhooks_endpoints WHERE id = :id
    ON CONFLICT (endpoint_id, version) DO NOTHING
    """,
)
_TERMS = Statement(
    "read_terms",
    "SELECT * FROM webhooks_terms WHERE endpoint_id = :id ORDER BY endpoint_id DESC, version DESC LIMIT :limit",
)
_BURY = Statement(
    "bury_endpoint",
    "INSERT INTO webhooks_deleted (id, tenant, deleted_at) VALUES (:id, :tenant, :now) ON CONFLICT (id) DO NOTHING",
)
_UNCOUNT = Statement("forget_sequence", "DELETE FROM webhooks_sequences WHERE endpoint_id = :id")
_BURIED = Statement("read_deleted", "SELECT deleted_at FROM webhooks_deleted WHERE id = :id AND tenant = :tenant")
_LOOK_DELETED = Statement(
    "sweep_look_deleted",
    "SELECT id FROM webhooks_deleted WHERE deleted_at < :before AND id > :after_id ORDER BY id LIMIT :limit",
)
_DELETE_DELETED = Statement(
    "sweep_deleted", "DELETE FROM webhooks_deleted WHERE id IN (SELECT id FROM {rows} AS i) RETURNING id",
    rows={"id": "text"},
)  # fmt: skip
_DELETE_THEIR_TERMS = Statement(
    "sweep_their_terms", "DELETE FROM webhooks_terms WHERE endpoint_id {any:ids} RETURNING endpoint_id"
)
_LOOK_TERMS = Statement(
    "sweep_look_terms",
    """
    SELECT endpoint_id, version FROM webhooks_terms WHERE (endpoint_id, version) > (:after_endpoint_id, :after_version)
     ORDER BY endpoint_id, version LIMIT :limit
    """,
)
_DELETE_TERMS = Statement(
    "sweep_terms",
    """
    DELETE FROM webhooks_terms WHERE (endpoint_id, version) IN (SELECT endpoint_id, version FROM {rows} AS i)
       AND EXISTS (SELECT 1 FROM webhooks_terms AS o WHERE o.endpoint_id = webhooks_terms.endpoint_id
                      AND o.version > webhooks_terms.version AND o.at < :before)
    RETURNING endpoint_id
    """,
    rows={"endpoint_id": "text", "version": "integer"},
)


async def remember(connection: Connection, endpoint_id: str) -> None:
    """How the endpoint stands from now on. To be called in every transaction that changes one; after the change."""
    await connection.fetch(_REMEMBER, {"id": endpoint_id})


async def read_terms(connection: Connection, endpoint_id: str) -> Sequence[Row]:
    """The newest TERMS_MOST, oldest first."""
    return (await connection.fetch(_TERMS, {"id": endpoint_id, "limit": TERMS_MOST}))[::-1]


async def bury(tx: Tx, endpoint_id: str, tenant: str) -> None:
    await tx.fetch(_BURY, {"id": endpoint_id, "tenant": tenant, "now": tx.now_us})
    await tx.fetch(_UNCOUNT, {"id": endpoint_id})


async def deleted_at(connection: Connection, endpoint_id: str, tenant: str) -> int | None:
    rows = await connection.fetch(_BURIED, {"id": endpoint_id, "tenant": tenant})
    return rows[0]["deleted_at"] if rows else None


def past_sweeps(before_us: int) -> tuple[Sweep, ...]:
    values = {"before": before_us}
    return (
        Sweep("webhooks_terms", _LOOK_TERMS, _DELETE_TERMS, ("endpoint_id", "version"), ("", 0), values),
        Sweep("webhooks_deleted", _LOOK_DELETED, _DELETE_DELETED, ("id",), ("",), values, gone=_delete_terms),
    )


async def _delete_terms(connection: Connection, went: Sequence[Row]) -> Mapping[str, int]:
    rows = await connection.fetch(_DELETE_THEIR_TERMS, {"ids": [row["id"] for row in went]})
    return {"webhooks_terms": len(rows)}
