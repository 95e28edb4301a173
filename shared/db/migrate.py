"""Migrations: Alembic, one lineage for each owner, all under one advisory lock.

An owner is a package with a `migrations/versions` folder; its revisions are numbered `0001`, `0002`, … and its
version stands in `<owner>_version`. `supported` of an owner is the range of versions that its code can work with:
a schema before it is not migrated yet, one after it belongs to newer code.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from shared.db.engine import Database
from shared.kernel.errors import Misconfigured

_LOCK_KEY = 0x486F6C64_6D696772  # "Holdmigr"


@dataclass(frozen=True)
class Owner:
    name: str
    folder: Path
    oldest: int
    newest: int

    @property
    def version_table(self) -> str:
        return f"{self.name}_version"


async def migrate(database: Database, owners: Sequence[Owner]) -> dict[str, str]:
    """Bring every owner to its head, in order; returns the version of each. Safe to run by many at once.

    Raises Misconfigured for a schema of newer code: older code must not touch it.
    """
    async with database.engine.connect() as connection:
        if database.dialect == "postgres":
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            await connection.commit()
        try:
            # SQLite's own write lock, taken by BEGIN IMMEDIATE, is the advisory lock of one file.
            versions = await connection.run_sync(_upgrade_all, owners)
            await connection.commit()
        finally:
            if database.dialect == "postgres":
                await asyncio.shield(_unlock(connection))
    return versions


async def _unlock(connection: Any) -> None:
    await connection.rollback()
    await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
    await connection.commit()


def _upgrade_all(connection: Connection, owners: Sequence[Owner]) -> dict[str, str]:
    return {owner.name: _upgrade(connection, owner) for owner in owners}


def _upgrade(connection: Connection, owner: Owner) -> str:
    found = _versions(connection, [owner])[owner.name]
    if found is not None and int(found) > owner.newest:
        raise Misconfigured(str(judge(owner, found)))
    script = ScriptDirectory(str(owner.folder), version_locations=[str(owner.folder / "versions")])

    def steps(revision: Any, _: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)  # noqa: SLF001 - what Alembic's own upgrade command calls

    context = MigrationContext.configure(
        connection, opts={"version_table": owner.version_table, "fn": steps, "script": script}
    )
    with Operations.context(context):
        context.run_migrations()
    return context.get_current_revision() or "base"


async def schema_problems(database: Database, owners: Sequence[Owner]) -> list[str]:
    """Why this code must not work on this schema, a sentence each; empty when it may."""
    async with database.reader.connect() as connection:
        found = await connection.run_sync(_versions, owners)
    return [problem for owner in owners if (problem := judge(owner, found[owner.name]))]


def judge(owner: Owner, version: str | None) -> str | None:
    if version is None:
        return f"the {owner.name} schema is not there: run the migrations"
    if int(version) < owner.oldest:
        return (
            f"the {owner.name} schema is at {version}, this code needs {owner.oldest:04d} or later: run the migrations"
        )
    if int(version) > owner.newest:
        return (
            f"the {owner.name} schema is at {version}, this code knows only up to {owner.newest:04d}: deploy newer code"
        )
    return None


def _versions(connection: Connection, owners: Sequence[Owner]) -> dict[str, str | None]:
    tables = set(inspect(connection).get_table_names())
    found: dict[str, str | None] = {}
    for owner in owners:
        row = None
        if owner.version_table in tables:
            row = connection.execute(text(f"SELECT version_num FROM {owner.version_table}")).first()
        found[owner.name] = row[0] if row else None
    return found
