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
    INSERT INTO media_assets (id, tenant, job_id, preset_set, presets, priority, kind, source_key, source_id,
                              size_bytes, sha256, created_at)
    VALUES (:id, :tenant, :job_id, :preset_set, :presets, :priority, :kind, :source_key, :source_id,
            :size_bytes, :sha256, :now)
    """,
)
_HOLD = Statement(
    "hold_asset",
    "SELECT * FROM media_assets WHERE id = :id AND tenant = :tenant",
    postgres="SELECT * FROM media_assets WHERE id = :id AND tenant = :tenant FOR UPDATE",
)
_PUBLISH = Statement(
    "publish_asset",
    """
    UPDATE media_assets SET kind = :kind, probe = :probe, renditions = :renditions, error = NULL
     WHERE id = :id AND job_id = :job_id RETURNING id
    """,
)
_FAIL = Statement(
    "fail_asset", "UPDATE media_assets SET error = :error WHERE id = :id AND job_id = :job_id RETURNING id"
)
_REPROCESS = Statement(
    "reprocess_asset",
    """
    UPDATE media_assets SET job_id = :job_id, preset_set = :preset_set, presets = :presets, priority = :priority,
           error = NULL
     WHERE id = :id RETURNING id
    """,
)
_ASSET = text("SELECT * FROM media_assets WHERE id = :id AND tenant = :tenant")
_ASSETS = Statement(
    "read_assets",
    """
    SELECT a.id, a.source_key, a.renditions, j.state AS job_state
      FROM media_assets AS a LEFT JOIN job AS j ON j.id = a.job_id
     WHERE a.id {any:ids}
    """,
)
_SOURCE = Statement(
    "asset_source",
    "SELECT source_key, sha256, job_id, preset_set, presets, kind, priority, tenant FROM media_assets WHERE id = :id",
)


async def insert_asset(tx: Tx, **values: Any) -> None:
    """`values` are the columns of a new asset, without its time."""
    await tx.fetch(_INSERT, {**values, "now": tx.now_us})


async def hold_asset(tx: Tx, asset_id: str, tenant: str) -> Mapping[str, Any] | None:
    """The asset, which nobody else changes until the transaction ends. Its job is locked after it, never before."""
    rows = await tx.fetch(_HOLD, {"id": asset_id, "tenant": tenant})
    return rows[0] if rows else None


async def publish_asset(tx: Tx, asset_id: str, job_id: str, *, kind: str, probe: str, renditions: str) -> bool:
    """Give the asset what its job has made; false when it is another job's by now."""
    values = {"id": asset_id, "job_id": job_id, "kind": kind, "probe": probe, "renditions": renditions}
    return bool(await tx.fetch(_PUBLISH, values))


async def fail_asset(tx: Tx, asset_id: str, job_id: str, *, error: str) -> bool:
    """What was made before stays. False when it is deleted, or another job's."""
    return bool(await tx.fetch(_FAIL, {"id": asset_id, "job_id": job_id, "error": error}))


async def reprocess_asset(tx: Tx, **values: Any) -> None:
    """`values`: id, and the new job_id, preset_set, presets and priority."""
    await tx.fetch(_REPROCESS, values)


async def read_asset(database: Database, asset_id: str, tenant: str) -> Mapping[str, Any] | None:
    async with database.reader.connect() as connection:
        row = (await connection.execute(_ASSET, {"id": asset_id, "tenant": tenant})).mappings().first()
    return dict(row) if row else None


async def read_source(database: Database, asset_id: str) -> Mapping[str, Any] | None:
    rows = await database.fetch(_SOURCE, {"id": asset_id})
    return rows[0] if rows else None


async def read_assets(database: Database, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Those of them that are there, by id, of any tenant: what their files are judged by.

    `job_state` is None once retention has taken the job.
    """
    rows = await database.fetch(_ASSETS, {"ids": list(ids)})
    return {row["id"]: row for row in rows}
