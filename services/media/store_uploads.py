"""Every statement on uploads that are not assets yet, and on their parts.

The invariant: the offset of an upload moves by compare-and-set, together with the row of the part that it moves over;
so of two requests at one offset one wins, and what the rows of the parts say is what has been acknowledged. Refuses
nothing: who calls reads the row to say why nothing was moved.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.sweep import Sweep
from shared.db.tx import Tx

Row = Mapping[str, Any]


class Part(NamedTuple):
    """`size_bytes` of an upload from `starts`, in an object of their own."""

    starts: int
    size_bytes: int
    key: str


_INSERT = Statement(
    "insert_upload",
    """
    INSERT INTO media_uploads (id, tenant, protocol, length_bytes, offset_bytes, parts, metadata_text, options,
                               created_at, expires_at)
    VALUES (:id, :tenant, :protocol, :length_bytes, 0, 0, :metadata_text, :options, :now, :expires)
    """,
)
_READ = Statement("read_upload", "SELECT * FROM media_uploads WHERE id = :id AND tenant = :tenant")
_OPEN = Statement(
    "open_uploads",
    """
    SELECT count(*) AS open FROM (
        SELECT 1 AS one FROM media_uploads WHERE tenant = :tenant AND asset_id IS NULL AND expires_at > :now LIMIT :most
    ) AS counted
    """,
)
_MOVE = Statement(
    "move_upload",
    """
    UPDATE media_uploads SET offset_bytes = :ends, parts = parts + 1, expires_at = :expires
     WHERE id = :id AND tenant = :tenant AND offset_bytes = :starts AND asset_id IS NULL AND expires_at > :now
       AND parts < :parts_most AND length_bytes >= :ends
    RETURNING length_bytes
    """,
)
_PART = Statement(
    "insert_upload_part",
    "INSERT INTO media_upload_parts (upload_id, starts_at, size_bytes, key) VALUES (:id, :starts, :size_bytes, :key)",
)
_COMPLETE = Statement(
    "complete_upload",
    """
    UPDATE media_uploads SET asset_id = :asset_id
     WHERE id = :id AND asset_id IS NULL AND offset_bytes = length_bytes
    RETURNING id
    """,
)
_PARTS = Statement(
    "upload_parts", "SELECT starts_at, size_bytes, key FROM media_upload_parts WHERE upload_id = :id ORDER BY starts_at"
)
_PARTS_OF = Statement("parts_of_uploads", "SELECT upload_id, key FROM media_upload_parts WHERE upload_id {any:ids}")
_THERE = Statement("uploads_there", "SELECT id, protocol, asset_id FROM media_uploads WHERE id {any:ids}")
_DROP_PARTS = Statement("drop_upload_parts", "DELETE FROM media_upload_parts WHERE upload_id = :id")
_DROP = Statement(
    "drop_upload", "DELETE FROM media_uploads WHERE id = :id AND tenant = :tenant AND asset_id IS NULL RETURNING id"
)
_DROP_UNBEGUN = Statement(
    "drop_unbegun_upload",
    "DELETE FROM media_uploads WHERE id = :id AND tenant = :tenant AND asset_id IS NULL AND offset_bytes = 0",
)
_DROP_OF = Statement("drop_uploads_of_asset", "DELETE FROM media_uploads WHERE asset_id = :asset_id RETURNING id")

_ASSET_JOB = Statement("asset_job", "SELECT job_id FROM media_assets WHERE id = :id")
_LOOK = Statement(
    "look_uploads",
    """
    SELECT expires_at, id FROM media_uploads
     WHERE (expires_at, id) > (:after_expires_at, :after_id) AND expires_at < :before
     ORDER BY expires_at, id LIMIT :limit
    """,
)
# What has become an asset is needed until its bytes are a source: then its parts are gone. A job that died keeps them.
_EXPIRE = Statement(
    "expire_uploads",
    """
    DELETE FROM media_uploads
     WHERE (expires_at, id) IN (SELECT expires_at, id FROM {rows} AS i)
       AND expires_at < :before
       AND (asset_id IS NULL OR expires_at < :abandoned
            OR NOT EXISTS (SELECT 1 FROM media_upload_parts AS p WHERE p.upload_id = media_uploads.id))
    RETURNING id
    """,
    rows={"expires_at": "bigint", "id": "text"},
)
_EXPIRE_PARTS = Statement("expire_upload_parts", "DELETE FROM media_upload_parts WHERE upload_id {any:ids}")


async def insert_upload(tx: Tx, **values: Any) -> None:
    """`values`: id, tenant, protocol, length_bytes, metadata_text, options, expires."""
    await tx.fetch(_INSERT, {**values, "now": tx.now_us})


async def read_upload(database: Database, upload_id: str, tenant: str) -> Row | None:
    rows = await database.fetch(_READ, {"id": upload_id, "tenant": tenant})
    return rows[0] if rows else None


async def read_upload_in(tx: Tx, upload_id: str, tenant: str) -> Row | None:
    rows = await tx.fetch(_READ, {"id": upload_id, "tenant": tenant})
    return rows[0] if rows else None


async def count_open(database: Database, tenant: str, now_us: int, most: int) -> int:
    """Of a tenant's uploads those that are neither complete nor expired; counted up to `most`."""
    return int((await database.fetch(_OPEN, {"tenant": tenant, "now": now_us, "most": most}))[0]["open"])


async def move_upload(tx: Tx, upload_id: str, tenant: str, part: Part, *, parts_most: int, expires: int) -> bool | None:
    """Acknowledge a part that begins where the upload has come to: True when it is the last, None when it is not so."""
    values = {
        "id": upload_id, "tenant": tenant, "starts": part.starts, "ends": part.starts + part.size_bytes,
        "now": tx.now_us, "parts_most": parts_most, "expires": expires,
    }  # fmt: skip
    rows = await tx.fetch(_MOVE, values)
    if not rows:
        return None
    await tx.fetch(_PART, {"id": upload_id, **part._asdict()})
    return bool(rows[0]["length_bytes"] == values["ends"])


async def complete_upload(tx: Tx, upload_id: str, asset_id: str) -> bool:
    """False when it is not whole, or has become an asset before."""
    return bool(await tx.fetch(_COMPLETE, {"id": upload_id, "asset_id": asset_id}))


async def read_asset_job(tx: Tx, asset_id: str) -> str | None:
    rows = await tx.fetch(_ASSET_JOB, {"id": asset_id})
    return rows[0]["job_id"] if rows else None


async def upload_parts(database: Database, upload_id: str) -> list[Part]:
    """In their order."""
    rows = await database.fetch(_PARTS, {"id": upload_id})
    return [Part(row["starts_at"], row["size_bytes"], row["key"]) for row in rows]


async def drop_parts(tx: Tx, upload_id: str) -> None:
    await tx.fetch(_DROP_PARTS, {"id": upload_id})


async def drop_upload(tx: Tx, upload_id: str, tenant: str) -> bool:
    """False when there is none, or it has become an asset."""
    if not await tx.fetch(_DROP, {"id": upload_id, "tenant": tenant}):
        return False
    await drop_parts(tx, upload_id)
    return True


async def drop_unbegun(tx: Tx, upload_id: str, tenant: str) -> None:
    """End an upload that nothing has been acknowledged of; one that has begun stays."""
    await tx.fetch(_DROP_UNBEGUN, {"id": upload_id, "tenant": tenant})


async def drop_uploads_of(tx: Tx, asset_id: str) -> list[str]:
    """The uploads that have become this asset; their ids."""
    ids = [row["id"] for row in await tx.fetch(_DROP_OF, {"asset_id": asset_id})]
    await tx.fetch(_EXPIRE_PARTS, {"ids": ids})
    return ids


async def uploads_there(database: Database, ids: Sequence[str]) -> dict[str, set[str] | None]:
    """By id, of those that are there: the keys that count; None of one whose client has the say (`direct`)."""
    rows = await database.fetch(_THERE, {"ids": list(ids)})
    found: dict[str, set[str] | None] = {
        row["id"]: None if row["protocol"] == "direct" and row["asset_id"] is None else set() for row in rows
    }
    for row in await database.fetch(_PARTS_OF, {"ids": list(found)}):
        keys = found[row["upload_id"]]
        if keys is not None:
            keys.add(row["key"])
    return found


def upload_sweep(before_us: int, abandoned_us: int, gone: Callable[[Sequence[str]], Awaitable[None]]) -> Sweep:
    """Uploads that expired before `before_us`; `gone` is told the ids of those that went, each batch once committed."""

    async def parts(connection: Any, rows: Sequence[Row]) -> Mapping[str, int]:
        await connection.fetch(_EXPIRE_PARTS, {"ids": [row["id"] for row in rows]})
        return {}

    async def after(rows: Sequence[Row]) -> None:
        await gone([row["id"] for row in rows])

    values = {"before": before_us, "abandoned": abandoned_us}
    return Sweep("media_uploads", _LOOK, _EXPIRE, ("expires_at", "id"), (0, ""), values, gone=parts, after=after)
