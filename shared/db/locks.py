"""A lock that one process of all holds, and that is free the moment its holder dies.

PostgreSQL: a session's advisory lock, on a connection of its own; the holder works on that very connection, so that
losing the lock and losing the ability to write are one event. SQLite: a kernel lock on a file beside the database.
"""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.db.engine import Database, sqlite_path
from shared.db.sql import Connection, Statement

_TRY = Statement("try_lock", "", postgres="SELECT pg_try_advisory_lock(hashtextextended(:name, 0)) AS held")

_RELAXED = Statement("relaxed_commits", "", postgres="SET synchronous_commit = off")


@asynccontextmanager
async def exclusive(database: Database, name: str) -> AsyncIterator[Connection | None]:
    """The connection to work on while the lock is held; None when somebody else holds it."""
    if database.dialect == "sqlite":
        path = sqlite_path(database.url)
        descriptor = os.open(path.with_name(f"{path.name}.{name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield database if lock_file(descriptor) else None
        finally:
            os.close(descriptor)
        return
    async with database.dedicated() as connection:
        rows = await connection.fetch(_TRY, {"name": f"holdfast:{name}"})
        if not rows[0]["held"]:
            yield None
            return
        # The relay's marks may be lost with the server: the jobs are then ready, and are dispatched again.
        await connection.fetch(_RELAXED)
        yield connection


def lock_file(descriptor: int) -> bool:
    """Take the POSIX record lock of an open file, or say at once that somebody else has it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
