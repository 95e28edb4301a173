"""`looking`: statements that only read, on a connection of the reader's, so that they never take the writer's turn."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import Database
from shared.db.sql import Connection, Dialect, Row, Statement


class _Reader:
    def __init__(self, connection: AsyncConnection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    async def fetch(
        self, statement: Statement, params: Mapping[str, Any] | None = None, rows: Sequence[Sequence[Any]] = ()
    ) -> Sequence[Row]:
        values = statement.bind(self._dialect, params, rows)
        result = await self._connection.exec_driver_sql(statement.sql(self._dialect), values or None)
        return [dict(row) for row in result.mappings()]


@asynccontextmanager
async def looking(database: Database) -> AsyncIterator[Connection]:
    """A connection for statements that only read; SQLite refuses others on it."""
    async with database.reader.connect() as connection:
        yield _Reader(connection, database.dialect)
