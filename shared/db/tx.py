"""`Tx`: one database transaction that a request or an attempt owns; SQLModel for rows, Statements for hot writes.

It is for database work only: no network, no pool, nothing slow happens while it is open, and `cap_s` ends one that
forgets (an open transaction holds SQLite's writer and PostgreSQL's horizon). Enqueues made inside join it; what must
happen after the commit, such as waking the relay, is registered with `after_commit` and runs once it is durable.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from shared.db.engine import Database
from shared.db.sql import Row, Statement

_current: ContextVar["Tx | None"] = ContextVar("holdfast_tx", default=None)


def current_tx() -> "Tx | None":
    """The transaction around the caller, which takes more work still.

    A task that was started inside one keeps its context, and would find it after the commit too: None then.
    """
    tx = _current.get()
    return None if tx is None or tx.is_over else tx


class Tx:
    def __init__(self, session: AsyncSession, database: Database) -> None:
        self.session = session
        self.now_us = database.clock.now_us()
        self._dialect = database.dialect
        self._before: list[Callable[[], Awaitable[object]]] = []
        self._after: list[Callable[[], None]] = []
        self.is_over = False
        self.touched: set[str] = set()  # queues that were given work: their relay is woken after the commit

    async def fetch(
        self, statement: Statement, params: Mapping[str, Any] | None = None, rows: Sequence[Sequence[Any]] = ()
    ) -> Sequence[Row]:
        await self.session.flush()
        connection = await self.session.connection()
        values = statement.bind(self._dialect, params, rows)
        result = await connection.exec_driver_sql(statement.sql(self._dialect), values or None)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def before_commit(self, action: Callable[[], Awaitable[object]]) -> None:
        """Run once the block has ended without an error, inside the transaction; what it raises rolls all back."""
        self._before.append(action)

    def after_commit(self, action: Callable[[], None]) -> None:
        self._after.append(action)


@asynccontextmanager
async def open_tx(
    database: Database, *, cap_s: float | None = None, wake: Callable[[str], None] | None = None
) -> AsyncIterator[Tx]:
    """Commit when the block ends, roll back when it raises; TimeoutError past `cap_s` (the database's) of wall time."""
    cap_s = database.tx_cap_s if cap_s is None else cap_s
    tx: Tx | None = None
    async with database.begin() as connection:  # noqa: SIM117
        # Nested, so that the cap ends the block and the rollback that follows is outside of it.
        async with _capped(cap_s), AsyncSession(bind=connection, expire_on_commit=False) as session:
            tx = Tx(session, database)
            token = _current.set(tx)
            try:
                yield tx
                for last in tx._before:  # noqa: SLF001 - its own maker
                    await last()
                tx.is_over = True
                await session.flush()
            finally:
                tx.is_over = True
                _current.reset(token)
    for action in tx._after:  # noqa: SLF001 - its own maker
        action()
    if wake is not None:
        for queue in tx.touched:
            wake(queue)


@asynccontextmanager
async def _capped(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as cap:
            yield
    except TimeoutError as error:
        if not cap.expired():
            raise
        raise TimeoutError(f"a transaction was open for {seconds:g} s, its cap, and was rolled back") from error


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[AsyncSession]:
    """A read-only look: its own connection, never the writer's turn."""
    async with database.reader.connect() as connection, AsyncSession(bind=connection) as session:
        yield session
