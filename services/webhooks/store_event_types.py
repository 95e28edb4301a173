"""Every statement of people on event types; what accepting reads of them is `store_audience`'s."""

from collections.abc import Sequence

from sqlmodel import col, func, select

from services.webhooks.models import EventType
from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.tx import Tx, reading

_ADD = Statement(
    "add_event_type",
    """
    INSERT INTO webhooks_event_types (tenant, name, description, json_schema, examples, retry_schedule_s, archived,
                                      version, created_at, updated_at)
    VALUES (:tenant, :name, :description, :json_schema, :examples, :retry_schedule_s, :archived, :version, :created_at,
            :updated_at)
    ON CONFLICT (tenant, name) DO NOTHING RETURNING name
    """,
)


async def count_types(tx: Tx, tenant: str) -> int:
    found = await tx.session.exec(select(func.count()).select_from(EventType).where(EventType.tenant == tenant))
    return int(found.one())


async def add_type(tx: Tx, kind: EventType) -> bool:
    """False when there is one of that name."""
    return bool(await tx.fetch(_ADD, kind.model_dump()))


async def lock_type(tx: Tx, name: str, tenant: str) -> EventType | None:
    query = select(EventType).where(EventType.tenant == tenant, EventType.name == name).with_for_update()
    return (await tx.session.exec(query)).first()


async def delete_type(tx: Tx, kind: EventType) -> None:
    await tx.session.delete(kind)
    await tx.session.flush()


async def read_type(database: Database, name: str, tenant: str) -> EventType | None:
    async with reading(database) as session:
        query = select(EventType).where(EventType.tenant == tenant, EventType.name == name)
        return (await session.exec(query)).first()


async def list_types(
    database: Database, tenant: str, *, archived: bool | None, after: str, limit: int
) -> Sequence[EventType]:
    """By name, beyond `after`."""
    query = select(EventType).where(EventType.tenant == tenant, col(EventType.name) > after)
    if archived is not None:
        query = query.where(EventType.archived == archived)
    async with reading(database) as session:
        found = await session.exec(query.order_by(col(EventType.name)).limit(limit))
        return found.all()
