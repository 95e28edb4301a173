"""Which database failures pass by themselves, and which are about the data.

Transient: the connection, the server or a lock; the same statement may succeed later. Anything else is about the
rows, and trying it again would fail again.
"""

import asyncio
import sqlite3

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_POSTGRES = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.ObjectInUseError,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    asyncpg.exceptions.PostgresSystemError,
)


def is_transient(error: BaseException) -> bool:
    if isinstance(error, (OSError, asyncio.TimeoutError, PoolTimeout, *_POSTGRES)):
        return True
    if isinstance(error, sqlite3.OperationalError):
        words = str(error)
        return any(part in words for part in ("locked", "busy", "full", "I/O", "unable to open"))
    if isinstance(error, DBAPIError):
        return _wraps_transient(error)
    return isinstance(error, ValueError) and "no active connection" in str(error)  # aiosqlite's, of a closed one


def _wraps_transient(error: DBAPIError) -> bool:
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    cause: BaseException | None = error.orig
    while cause is not None:
        if not isinstance(cause, DBAPIError) and is_transient(cause):
            return True
        cause = cause.__cause__
    return isinstance(error, OperationalError) and not isinstance(error.orig, sqlite3.Error)


def is_deadlock(error: BaseException) -> bool:
    """PostgreSQL has rolled this transaction back, for certain, to let another one go on."""
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    while cause is not None:
        if isinstance(cause, asyncpg.exceptions.DeadlockDetectedError):
            return True
        cause = cause.__cause__
    return False
