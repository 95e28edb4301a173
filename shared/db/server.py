"""What a PostgreSQL server says of itself: the settings as this user's sessions have them, its load, its clock."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from shared.db.engine import Database

_SETTINGS = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
_LOAD = text(
    """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
           pg_is_in_recovery() AS in_recovery,
           coalesce((SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
                      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), 0)::float AS oldest_s
    """
)
_NOW = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")


async def read_settings(database: Database, names: Sequence[str]) -> dict[str, str]:
    """Name → setting, in the server's base units; those that this version does not have are left out."""
    async with database.reader.connect() as connection:
        return {row.name: row.setting for row in await connection.execute(_SETTINGS, {"names": list(names)})}


async def read_load(database: Database) -> Mapping[str, Any]:
    """connections, in_recovery, oldest_s (the oldest open transaction but ours)."""
    async with database.reader.connect() as connection:
        return dict((await connection.execute(_LOAD)).mappings().one())


async def read_now_us(database: Database) -> int:
    """The server's own clock."""
    async with database.reader.connect() as connection:
        return int((await connection.execute(_NOW)).scalar_one())
