"""Every statement on tenants' preset sets."""

from collections.abc import Sequence

from sqlmodel import col, func, select

from services.media.models import PresetSetRow
from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.tx import Tx, reading

_ADD = Statement(
    "add_preset_set",
    """
    INSERT INTO media_preset_sets (tenant, name, body, version, created_at, updated_at)
    VALUES (:tenant, :name, :body, :version, :created_at, :updated_at)
    ON CONFLICT (tenant, name) DO NOTHING RETURNING name
    """,
)


async def count_sets(tx: Tx, tenant: str) -> int:
    found = await tx.session.exec(select(func.count()).select_from(PresetSetRow).where(PresetSetRow.tenant == tenant))
    return int(found.one())


async def add_set(tx: Tx, row: PresetSetRow) -> bool:
    """False when there is one of that name."""
    return bool(await tx.fetch(_ADD, row.model_dump()))


async def lock_set(tx: Tx, tenant: str, name: str) -> PresetSetRow | None:
    query = select(PresetSetRow).where(PresetSetRow.tenant == tenant, PresetSetRow.name == name).with_for_update()
    return (await tx.session.exec(query)).first()


async def delete_set(tx: Tx, row: PresetSetRow) -> None:
    await tx.session.delete(row)
    await tx.session.flush()


async def read_set(database: Database, tenant: str, name: str) -> PresetSetRow | None:
    async with reading(database) as session:
        query = select(PresetSetRow).where(PresetSetRow.tenant == tenant, PresetSetRow.name == name)
        return (await session.exec(query)).first()


async def list_sets(database: Database, tenant: str, *, after: str, limit: int) -> Sequence[PresetSetRow]:
    """By name, beyond `after`."""
    query = select(PresetSetRow).where(PresetSetRow.tenant == tenant, col(PresetSetRow.name) > after)
    async with reading(database) as session:
        return (await session.exec(query.order_by(col(PresetSetRow.name)).limit(limit))).all()
