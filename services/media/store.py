"""Every statement on the media service's own table."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.tx import Tx

_INSERT = Statement(
    "insert_asset",
    """
    INSERT INTO media_assets (id, tenant, job_id, preset_set, source_key, size_bytes, sha256, created_at)
    VALUES (:id, :tenant, :job_id, :preset_set, :source_key, :size_bytes, :sha256, :now)
    """,
)
_FINISH = Statement(
    "finish_asset",
    """
    UPDATE media_assets SET probe = :probe, renditions = :renditions, error = :error WHERE id = :id
    RETURNING id
    """,
)
_DELETE = Statement("delete_asset", "DELETE FROM media_assets WHERE id = :id AND tenant = :tenant RETURNING job_id")
_ASSET = text("SELECT * FROM media_assets WHERE id = :id AND tenant = :tenant")
_ASSETS = Statement("read_assets", "SELECT id, source_key, renditions, error FROM media_assets WHERE id {any:ids}")
_SOURCE = Statement("asset_source", "SELECT source_key, preset_set, tenant FROM media_assets WHERE id = :id")


async def insert_asset(tx: Tx, **values: Any) -> None:
    """`values` are the columns of a new asset, without its time."""
    await tx.fetch(_INSERT, {**values, "now": tx.now_us})


async def finish_asset(
    tx: Tx, asset_id: str, *, probe: str | None = None, renditions: str | None = None, error: str | None = None
) -> bool:
    """False when the asset has been deleted meanwhile."""
    values = {"id": asset_id, "probe": probe, "renditions": renditions, "error": error}
    return bool(await tx.fetch(_FINISH, values))


async def delete_asset(tx: Tx, asset_id: str, tenant: str) -> bool:
    return bool(await tx.fetch(_DELETE, {"id": asset_id, "tenant": tenant}))


async def read_asset(database: Database, asset_id: str, tenant: str) -> Mapping[str, Any] | None:
    async with database.reader.connect() as connection:
        row = (await connection.execute(_ASSET, {"id": asset_id, "tenant": tenant})).mappings().first()
    return dict(row) if row else None


async def read_source(database: Database, asset_id: str) -> Mapping[str, Any] | None:
    rows = await database.fetch(_SOURCE, {"id": asset_id})
    return rows[0] if rows else None


async def read_assets(database: Database, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Those of them that are there, by id, of any tenant: what their files are judged by."""
    rows = await database.fetch(_ASSETS, {"ids": list(ids)})
    return {row["id"]: row for row in rows}
