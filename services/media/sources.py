"""Sources: one tenant's bytes, stored once for however many assets; every statement on `media_sources`.

Invariants: of one tenant and SHA-256 there is at most one row; a row goes with the last asset that refers to it, in
that asset's own transaction, and its object after that commit. Code of before there were sources deletes assets without
theirs; the nightly sweep takes those. Whoever adds or takes away a reference holds the row's
lock until it commits, so that neither the last delete nor an upload of the same bytes meanwhile misses the other:
locks are taken on the asset first, then on its source. Tenants share nothing: whether others have the same bytes is
neither said nor to be felt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.media.accepting import StoredSource
from services.media.intake import Taken
from shared.db.engine import Database
from shared.db.sql import Connection, Statement
from shared.db.tx import Tx

# Updates what is there by nothing, which locks it and gives its id.
_SETTLE = Statement(
    "settle_source",
    """
    INSERT INTO media_sources (id, tenant, sha256, size_bytes, created_at)
    VALUES (:id, :tenant, :sha256, :size_bytes, :now)
    ON CONFLICT (tenant, sha256) DO UPDATE SET size_bytes = media_sources.size_bytes
    RETURNING id
    """,
)
_LOCK = Statement("lock_source", "UPDATE media_sources SET size_bytes = size_bytes WHERE id = :id RETURNING id")
# A statement of its own, so that PostgreSQL looks anew once the lock is held.
_RELEASE = Statement(
    "release_source",
    """
    DELETE FROM media_sources
     WHERE id = :id AND NOT EXISTS (SELECT 1 FROM media_assets WHERE source_id = :id)
    RETURNING id
    """,
)
_UNNAMED = Statement(
    "unnamed_sources",
    """
    SELECT id FROM media_sources
     WHERE id {any:ids} AND created_at < :before
       AND NOT EXISTS (SELECT 1 FROM media_assets WHERE source_id = media_sources.id)
    """,
)
_THERE = Statement("sources_there", "SELECT id FROM media_sources WHERE id {any:ids}")


async def settle(tx: Tx, tenant: str, taken: Taken) -> StoredSource:
    """The tenant's source of these bytes: `taken` itself from now on, or the one that has been there."""

    async def committing() -> None:
        taken.committing = True

    tx.before_commit(committing)
    values: Mapping[str, Any] = {
        "id": taken.id, "tenant": tenant, "sha256": taken.sha256, "size_bytes": taken.size_bytes, "now": tx.now_us,
    }  # fmt: skip
    (row,) = await tx.fetch(_SETTLE, values)
    taken.counts = row["id"] == taken.id
    key = taken.key if taken.counts else f"sources/{row['id']}/source"
    return StoredSource(key, taken.size_bytes, taken.sha256, row["id"])


async def release(tx: Connection, source_id: str) -> bool:
    """After a reference has gone, in its transaction: True when it was the last one, and the row has gone too."""
    await tx.fetch(_LOCK, {"id": source_id})
    return bool(await tx.fetch(_RELEASE, {"id": source_id}))


async def release_unnamed(database: Database, ids: Sequence[str], before_us: int) -> list[str]:
    """Of these, those that were made before then and that no asset names lose their row; their ids."""
    found = await database.fetch(_UNNAMED, {"ids": list(ids), "before": before_us})
    gone = []
    for row in found:  # each looked at again under its lock: its bytes may have been uploaded anew by now
        async with database.transaction() as connection:
            if await release(connection, row["id"]):
                gone.append(row["id"])
    return gone


async def sources_there(database: Database, ids: Sequence[str]) -> set[str]:
    return {row["id"] for row in await database.fetch(_THERE, {"ids": list(ids)})}
