"""Every statement on endpoints.

People's changes go through the row, read for update and written back with the next version; deliveries read by key,
many at once. Nothing reaches another tenant's row: the tenant is part of every key that comes from a caller.
"""

from collections.abc import Sequence
from typing import Any

from sqlmodel import col, func, select

from services.webhooks.models import Endpoint
from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.db.tx import Tx, reading

TARGETS = Statement(
    "read_targets",
    """
    SELECT id, tenant, url, retry_schedule_s, timeout_s, headers, enabled, disabled_reason, secret, previous_secret,
           previous_until
      FROM webhooks_endpoints WHERE id {any:ids}
    """,
)
# Only if it is still the address that answered: who has just changed it has answered the receiver already.
_DISABLE = Statement(
    "disable_endpoint",
    """
    UPDATE webhooks_endpoints
       SET enabled = false, disabled_reason = :reason, version = version + 1, updated_at = :now
     WHERE id = :id AND tenant = :tenant AND url = :url AND enabled
    RETURNING id
    """,
)


async def read_targets(connection: Connection, ids: Sequence[str]) -> Sequence[Row]:
    return await connection.fetch(TARGETS, {"ids": list(ids)})


async def disable_gone(tx: Tx, endpoint_id: str, tenant: str, url: str, reason: str) -> bool:
    """True when this is what disabled it."""
    values = {"id": endpoint_id, "tenant": tenant, "url": url, "reason": reason, "now": tx.now_us}
    return bool(await tx.fetch(_DISABLE, values))


async def count_endpoints(tx: Tx, tenant: str) -> int:
    found = await tx.session.exec(select(func.count()).select_from(Endpoint).where(Endpoint.tenant == tenant))
    return int(found.one())


async def lock_endpoint(tx: Tx, endpoint_id: str, tenant: str) -> Endpoint | None:
    """The row, which nobody else changes until this transaction ends."""
    query = select(Endpoint).where(Endpoint.id == endpoint_id, Endpoint.tenant == tenant).with_for_update()
    return (await tx.session.exec(query)).first()


async def add_endpoint(tx: Tx, endpoint: Endpoint) -> None:
    tx.session.add(endpoint)
    await tx.session.flush()


async def delete_endpoint(tx: Tx, endpoint: Endpoint) -> None:
    await tx.session.delete(endpoint)
    await tx.session.flush()


async def read_endpoint(database: Database, endpoint_id: str, tenant: str) -> Endpoint | None:
    async with reading(database) as session:
        query = select(Endpoint).where(Endpoint.id == endpoint_id, Endpoint.tenant == tenant)
        return (await session.exec(query)).first()


async def list_endpoints(database: Database, tenant: str, *, before: str | None, limit: int) -> Sequence[Any]:
    """Newest first."""
    query = select(Endpoint).where(Endpoint.tenant == tenant)
    if before is not None:
        query = query.where(col(Endpoint.id) < before)
    async with reading(database) as session:
        found = await session.exec(query.order_by(col(Endpoint.tenant).desc(), col(Endpoint.id).desc()).limit(limit))
        return found.all()
