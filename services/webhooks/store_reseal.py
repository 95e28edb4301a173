"""Endpoints with what is sealed of them, by id and under their locks; written back without a new version."""

from collections.abc import Sequence

from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.sql import Connection, Row, Statement

_COLUMNS = ("secret", "previous_secret", "signing_key", "headers", "reach", "retired")
_LOCK = f"SELECT id, {', '.join(_COLUMNS)} FROM webhooks_endpoints WHERE id > :after ORDER BY id LIMIT :limit"
LOCK = Statement("lock_sealed", _LOCK, postgres=f"{_LOCK} FOR UPDATE")
READ = Statement(
    "read_sealed", f"SELECT id, {', '.join(_COLUMNS)} FROM webhooks_endpoints ORDER BY id DESC LIMIT :limit"
)
WRITE = Statement(
    "write_sealed",
    f"""
    UPDATE webhooks_endpoints SET {", ".join(f"{name} = i.{name}" for name in _COLUMNS)} FROM {{rows}} AS i
     WHERE webhooks_endpoints.id = i.id
    """,
    rows={"id": "text", **dict.fromkeys(_COLUMNS, "text")},
)


async def lock_sealed(connection: Connection, after: str, limit: int) -> Sequence[Row]:
    return await connection.fetch(LOCK, {"after": after, "limit": limit})


async def read_sealed(database: Database, limit: int) -> Sequence[Row]:
    """Of the newest endpoints, without a lock."""
    async with looking(database) as connection:
        return await connection.fetch(READ, {"limit": limit})


async def write_sealed(connection: Connection, rows: Sequence[tuple[str | None, ...]]) -> None:
    """Each: id, and the columns in the order of `lock_sealed`."""
    if rows:
        await connection.fetch(WRITE, None, rows)
