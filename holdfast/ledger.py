"""The command line's direct look at a ledger: the audit works on the database alone, whatever else is down."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncpg import PostgresError
from sqlalchemy.exc import DBAPIError

from shared.db.engine import Database
from shared.db.failures import is_transient
from shared.db.migrate import schema_problems
from shared.kernel.clock import after_us, rfc3339
from shared.kernel.errors import Misconfigured
from shared.ledger.schema import LEDGER
from shared.ledger.store_shadow import SHADOWS_MOST, clear_shadows, read_shadows
from shared.runtime import audit
from shared.runtime.migrate import upgrade


async def run_audit(database_url: str) -> dict[str, Any]:
    """The audit's report; raises Misconfigured when there is no ledger to audit."""
    with in_one_sentence():
        return await audit.run_audit(database_url)


async def run_shadow(database_url: str, after_s: float, *, clear: bool = False) -> dict[str, Any]:
    """What BackgroundTasks lost or let fail; a task that began `after_s` ago and has not ended counts as lost."""
    database = Database(database_url, pool=2)
    try:
        with in_one_sentence():
            await database.open()
            problems = await schema_problems(database, [LEDGER])
            if problems:
                raise Misconfigured(problems[0])
            before_us = after_us(database.clock.now_us(), -after_s)
            counts, which = await read_shadows(database, before_us)
            cleared = await clear_shadows(database, before_us) if clear else 0
    finally:
        await database.close()
    tasks = [
        {**row, "started_at": rfc3339(row["started_at"]), "end": "failed" if row["error"] else "lost"} for row in which
    ]
    full = counts["noted"] >= SHADOWS_MOST
    return {"lost": counts["lost"], "failed": counts["failed"], "full": full, "cleared": cleared, "tasks": tasks}


async def run_upgrade(database_url: str) -> dict[str, str]:
    """The version of each owner afterwards; raises Misconfigured when the database does not let itself be migrated."""
    with in_one_sentence():
        return await upgrade(database_url)


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """What a database has against being used at all (not there, no database, wrong password) becomes Misconfigured."""
    try:
        yield
    except Exception as error:
        if is_transient(error):
            raise Misconfigured(f"the database does not answer: {_words(error)}") from None
        if isinstance(error, (DBAPIError, PostgresError, sqlite3.Error)):
            raise Misconfigured(f"the database cannot be used: {_words(error)}") from None
        raise


def _words(error: BaseException) -> str:
    """The driver's own, on one line; SQLAlchemy would add the statement and a link."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__
