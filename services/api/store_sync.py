"""Every statement on synced items and on how far their feed is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Connection, Statement
from shared.db.sweep import Sweep

_READ = Statement(
    "read_sync", "SELECT revision, cursor, valid_for, etag, last_modified FROM api_sync WHERE feed = :feed"
)
_BEGIN = Statement(
    "begin_sync",
    """
    INSERT INTO api_sync (feed, revision, cursor, valid_for, etag, last_modified, updated_at)
    VALUES (:feed, 1, :cursor, :valid_for, :etag, :last_modified, :now) ON CONFLICT (feed) DO NOTHING RETURNING revision
    """,
)
_MOVE = Statement(
    "move_sync",
    """
    UPDATE api_sync SET revision = revision + 1, cursor = :cursor, valid_for = :valid_for, etag = :etag,
           last_modified = :last_modified, updated_at = :now
     WHERE feed = :feed AND revision = :seen RETURNING revision
    """,
)
# An older version, or the same once more, changes nothing: what is told counts what was new.
_WRITE = Statement(
    "write_items",
    """
    INSERT INTO api_synced_items (tenant, id, version, data, deleted_at, updated_at)
    SELECT tenant, id, version, data, deleted_at, updated_at FROM {rows} AS i WHERE true
    ON CONFLICT (tenant, id) DO UPDATE
       SET version = excluded.version, data = excluded.data, deleted_at = excluded.deleted_at,
           updated_at = excluded.updated_at
     WHERE api_synced_items.version < excluded.version
    RETURNING id
    """,
    rows={
        "tenant": "text", "id": "text", "version": "bigint", "data": "text", "deleted_at": "bigint",
        "updated_at": "bigint",
    },
)  # fmt: skip
_LIST = text(
    """
    SELECT id, version, data, updated_at FROM api_synced_items
     WHERE tenant = :tenant AND id > :after AND deleted_at IS NULL ORDER BY id LIMIT :limit
    """
)
_LOOK = Statement(
    "sweep_look_deleted",
    """
    SELECT deleted_at, tenant, id FROM api_synced_items
     WHERE deleted_at IS NOT NULL AND deleted_at < :before AND deleted_at >= :after_deleted_at
       AND (deleted_at, tenant, id) > (:after_deleted_at, :after_tenant, :after_id)
     ORDER BY deleted_at, tenant, id LIMIT :limit
    """,
)
_DELETE = Statement(
    "sweep_deleted",
    """
    DELETE FROM api_synced_items WHERE (tenant, id) IN (SELECT tenant, id FROM {rows} AS i) AND deleted_at < :before
    RETURNING id
    """,
    rows={"deleted_at": "bigint", "tenant": "text", "id": "text"},
)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a feed is read: the page to ask for next, and what its server said of the page `valid_for`.

    `revision` 0: nothing of it was ever read.
    """

    revision: int = 0
    cursor: str = ""
    valid_for: str | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    id: str
    version: int
    data: str | None  # JSON; None: deleted


async def read_position(database: Database, feed: str) -> Position:
    rows = await database.fetch(_READ, {"feed": feed})
    return Position(**dict(rows[0])) if rows else Position()


async def write_page(
    connection: Connection, feed: str, tenant: str, seen: Position, then: Position, items: Sequence[Item], now_us: int
) -> int | None:
    """One page and where to go on from, together; how many items were new. None: somebody else has read on."""
    values = {name: getattr(then, name) for name in ("cursor", "valid_for", "etag", "last_modified")}
    move = _MOVE if seen.revision else _BEGIN
    if not await connection.fetch(move, {**values, "feed": feed, "seen": seen.revision, "now": now_us}):
        return None
    newest: dict[str, Item] = {}
    for item in items:
        if item.id not in newest or newest[item.id].version <= item.version:
            newest[item.id] = item
    rows = [
        (tenant, item.id, item.version, item.data, now_us if item.data is None else None, now_us)
        for item in sorted(newest.values(), key=lambda item: item.id)
    ]
    return len(await connection.fetch(_WRITE, None, rows)) if rows else 0


async def list_items(database: Database, tenant: str, after: str, limit: int) -> Sequence[Mapping[str, Any]]:
    """Those that are not deleted, by id, beyond `after`."""
    values = {"tenant": tenant, "after": after, "limit": limit}
    async with database.reader.connect() as connection:
        return [dict(row) for row in (await connection.execute(_LIST, values)).mappings()]


def deleted_sweep(before_us: int) -> Sweep:
    """What was deleted before then: its version is forgotten, so a feed that sends it once more brings it back."""
    key = ("deleted_at", "tenant", "id")
    return Sweep("api_synced_items", _LOOK, _DELETE, key, (0, "", ""), {"before": before_us})
