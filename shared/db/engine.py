"""One `Database` per process and event loop: hot statements on driver connections, transactions through SQLAlchemy.

SQLite has one writer connection per process; whoever writes takes it in turn, `BEGIN IMMEDIATE` always (a deferred
transaction that turns into a writer fails at once when somebody else writes: 47,000 "database is locked" measured).
PostgreSQL has two small pools: driver connections for the hot statements, SQLAlchemy's for transactions and reads.
Every one of them is made by the driver from the whole URL, so that what it asks for (`sslmode=verify-full`, several
hosts) holds for all.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.db.sql import Connection, Dialect, Row, Statement
from shared.kernel.clock import Clock, SystemClock
from shared.kernel.errors import Misconfigured

# By-key statements only: with an empty table's statistics a cached plan would scan what later holds a million rows.
# Said in the session and not as it starts: PgBouncer refuses a start with settings that it does not know.
_HOT_SETTINGS = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
_NAME = {"application_name": "holdfast"}
_BUSY_TIMEOUT_S = 10.0
_COMMAND_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 5.0


class Database:
    def __init__(
        self, url: str, *, pool: int = 8, tx_cap_s: float = 1.0, clock: Clock | None = None,
        command_limit_s: float | None = _COMMAND_TIMEOUT_S,
    ) -> None:  # fmt: skip
        """`command_limit_s` of one statement on PostgreSQL; None for what may take as long as it takes: a migration."""
        self.url = url
        self.clock: Clock = clock or SystemClock()
        self.dialect: Dialect = "sqlite" if url.startswith("sqlite") else "postgres"
        self.tx_cap_s = tx_cap_s  # see shared.db.tx
        self._pool_size = pool
        self._command_limit_s = command_limit_s
        self._postgres: asyncpg.Pool[Any] | None = None
        self._sqlite: aiosqlite.Connection | None = None
        self._writer = asyncio.Lock()
        if self.dialect == "sqlite":
            self.engine: AsyncEngine = _sqlite_engine(url, pool, read_only=False)
            self.reader: AsyncEngine = _sqlite_engine(url, pool, read_only=True)
        else:
            self.engine = self.reader = _postgres_engine(url, pool, command_limit_s)

    async def open(self) -> None:
        """Connect; raises Misconfigured when a SQLite folder is missing, the driver's error when nobody answers."""
        if self.dialect == "sqlite":
            path = sqlite_path(self.url)
            if not path.parent.is_dir():
                raise Misconfigured(f"HOLDFAST_DATABASE_URL: the folder {path.parent} does not exist")
            self._sqlite = await aiosqlite.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
            self._sqlite.row_factory = sqlite3.Row
            try:
                for pragma in _PRAGMAS:
                    await self._sqlite.execute(pragma)
            except BaseException:
                await self.close()  # the driver's thread would keep a process alive that could not open its database
                raise
            return
        self._postgres = await asyncpg.create_pool(
            _driver_url(self.url),
            min_size=0,
            max_size=self._pool_size,
            command_timeout=self._command_limit_s,
            timeout=_CONNECT_TIMEOUT_S,
            server_settings=_NAME,
            init=_set,
            reset=_keep,
            max_inactive_connection_lifetime=60.0,
        )

    async def close(self) -> None:
        if self._sqlite is not None:
            async with self._writer:
                await self._sqlite.close()
            self._sqlite = None
        if self._postgres is not None:
            try:
                await asyncio.wait_for(self._postgres.close(), 5)
            except TimeoutError:
                self._postgres.terminate()
            self._postgres = None
        await self.engine.dispose()
        await self.reader.dispose()

    async def fetch(
        self, statement: Statement, params: Mapping[str, Any] | None = None, rows: Sequence[Sequence[Any]] = ()
    ) -> Sequence[Row]:
        """Run one statement in a transaction of its own."""
        if self._sqlite is not None:
            async with self._writer:
                return await _SqliteConnection(self._sqlite).fetch(statement, params, rows)
        async with self._acquire() as connection:
            return await _PostgresConnection(connection).fetch(statement, params, rows)

    @asynccontextmanager
    async def transaction(self, *, relaxed: bool = False) -> AsyncIterator[Connection]:
        """Several hot statements that commit together. `relaxed` may lose the commit with the server's crash."""
        if self._sqlite is not None:
            async with self._writer:
                try:
                    # Within: who is cancelled here has begun all the same, in the driver's thread, a moment later.
                    await self._sqlite.execute("BEGIN IMMEDIATE")
                    yield _SqliteConnection(self._sqlite)
                    await asyncio.shield(self._sqlite.commit())
                except BaseException:
                    # Shielded: a cancelled writer must not leave its transaction open for the next one.
                    await asyncio.shield(self._sqlite.rollback())
                    raise
            return
        async with self._acquire() as connection, connection.transaction():
            if relaxed:
                await connection.execute("SET LOCAL synchronous_commit = off")
            yield _PostgresConnection(connection)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A SQLAlchemy transaction: the writer's turn on SQLite, one of the pool on PostgreSQL."""
        if self.dialect == "sqlite":
            async with self._writer, self.engine.begin() as connection:
                yield connection
            return
        async with self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Connection]:
        """A PostgreSQL session of one's own, outside the pool and closed at the end: what it locked is free then."""
        raw = await asyncpg.connect(
            _driver_url(self.url), command_timeout=self._command_limit_s, timeout=_CONNECT_TIMEOUT_S,
            server_settings=_NAME,
        )  # fmt: skip
        try:
            await _set(raw)
            yield _PostgresConnection(raw)
        finally:
            raw.terminate()

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        if self._postgres is None:
            raise ConnectionError("the database is not open")
        async with self._postgres.acquire(timeout=_COMMAND_TIMEOUT_S) as connection:
            yield connection


class _PostgresConnection:
    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetch(
        self, statement: Statement, params: Mapping[str, Any] | None = None, rows: Sequence[Sequence[Any]] = ()
    ) -> Sequence[Row]:
        found: Sequence[Row] = await self._raw.fetch(
            statement.sql("postgres"), *statement.bind("postgres", params, rows)
        )
        return found


class _SqliteConnection:
    def __init__(self, raw: aiosqlite.Connection) -> None:
        self._raw = raw

    async def fetch(
        self, statement: Statement, params: Mapping[str, Any] | None = None, rows: Sequence[Sequence[Any]] = ()
    ) -> Sequence[Row]:
        sql, values = statement.sql("sqlite"), statement.bind("sqlite", params, rows)
        return list(await self._raw.execute_fetchall(sql, values))  # type: ignore[arg-type]


_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={int(_BUSY_TIMEOUT_S * 1000)}",
)


def sqlite_path(url: str) -> Path:
    return Path(make_url(url).database or "")


def _driver_url(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def _postgres_engine(url: str, pool: int, command_limit_s: float | None) -> AsyncEngine:
    async def connect() -> Any:
        """Not by SQLAlchemy, which hands a URL's query to the driver as arguments that it does not have."""
        return await asyncpg.connect(_driver_url(url), command_timeout=command_limit_s, timeout=_CONNECT_TIMEOUT_S)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect,
        pool_size=pool, max_overflow=pool, pool_pre_ping=True, pool_timeout=10,
    )  # fmt: skip


def _sqlite_engine(url: str, pool: int, *, read_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        make_url(url).set(drivername="sqlite+aiosqlite"),
        pool_size=pool if read_only else 1,
        max_overflow=0,
        pool_timeout=10,
        connect_args={"timeout": _BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, f"PRAGMA query_only={'ON' if read_only else 'OFF'}"):
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


async def _set(raw: Any) -> None:
    await raw.execute(_HOT_SETTINGS)


async def _keep(_: Any) -> None:
    """Skip the pool's RESET round trip: hot statements change no session state."""
