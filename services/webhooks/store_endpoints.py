"""Every statement on endpoints.

People's changes go through the row, read for update and written back with the next version; deliveries read by key,
many at once. Nothing reaches another tenant's row: the tenant is part of every key that comes from a caller.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlmodel import col, func, select

from services.webhooks.models import UNVERIFIED, Endpoint
from services.webhooks.store_health import COLUMNS
from services.webhooks.store_past import remember
from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.db.tx import Tx, reading

TARGETS = Statement(
    "read_targets",
    f"""
    SELECT e.id, e.tenant, e.url, e.retry_schedule_s, e.timeout_s, e.headers, e.enabled, e.disabled_reason, e.secret,
           e.previous_secret, e.previous_until, e.signing_key, e.public_key, e.retired, e.concurrency, e.kind, e.reach,
           e.sequenced_at, {", ".join(f"h.{name}" for name in COLUMNS)}
      FROM webhooks_endpoints AS e LEFT JOIN webhooks_health AS h ON h.endpoint_id = e.id WHERE e.id {{any:ids}}
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

# Only at the address that answered. What somebody disabled for another reason stays disabled.
_VERIFIED = Statement(
    "endpoint_verified",
    """
    UPDATE webhooks_endpoints
       SET verified_at = :now, version = version + 1, updated_at = :now,
           enabled = enabled OR (must_verify AND disabled_reason = :unverified),
           disabled_reason = CASE WHEN disabled_reason = :unverified THEN NULL ELSE disabled_reason END
     WHERE id = :id AND tenant = :tenant AND url = :url
    RETURNING id
    """,
)
_EXAMPLES = Statement(
    "event_examples", "SELECT examples FROM webhooks_event_types WHERE tenant = :tenant AND name = :name"
)


async def set_verified(tx: Tx, endpoint_id: str, tenant: str, url: str) -> bool:
    values = {"id": endpoint_id, "tenant": tenant, "url": url, "now": tx.now_us, "unverified": UNVERIFIED}
    verified = bool(await tx.fetch(_VERIFIED, values))
    if verified:
        await remember(tx, endpoint_id)
    return verified


async def read_example(tx: Tx, tenant: str, event_type: str) -> dict[str, Any] | None:
    """The data of the first example that a registered type has."""
    rows = await tx.fetch(_EXAMPLES, {"tenant": tenant, "name": event_type})
    found = orjson.loads(rows[0]["examples"]) if rows else []
    return next((one for one in found if isinstance(one, dict)), None) if isinstance(found, list) else None


async def read_targets(connection: Connection, ids: Sequence[str]) -> Sequence[Row]:
    return await connection.fetch(TARGETS, {"ids": list(ids)})


async def disable_gone(tx: Tx, endpoint_id: str, tenant: str, url: str, reason: str) -> bool:
    """True when this is what disabled it."""
    values = {"id": endpoint_id, "tenant": tenant, "url": url, "reason": reason, "now": tx.now_us}
    disabled = bool(await tx.fetch(_DISABLE, values))
    if disabled:
        await remember(tx, endpoint_id)
    return disabled


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
