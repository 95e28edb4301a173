"""Migrations: Alembic, one lineage for each owner, all under one advisory lock.

An owner is a package with a `migrations/versions` folder; its revisions are numbered `0001`, `0002`, … and its
version stands in `<owner>_version`. `oldest` and `newest` are the range of versions that its code knows. A schema
before that is not migrated yet. One after it was made by newer code, and may be worked with only where its revisions
say so: each may name in `works_from` the oldest code (by its `newest`) that it leaves working; without it, only code
that knows the revision itself. So a deploy expands the schema while the code before it goes on, and contracts it when
that code is gone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
    links: tuple[tuple[str, str], ...] = ()  # tables and their columns that name jobs, for the audit

    @property
    def version_table(self) -> str:
        return f"{self.name}_version"

    @property
    def floor_table(self) -> str:
        return f"{self.name}_floor"


class Version(NamedTuple):
    """What a database says of an owner: its schema's version, and the oldest code that may work with it."""

    number: str | None
    floor: int | None


async def migrate(database: Database, owners: Sequence[Owner]) -> dict[str, str]:
    """Bring every owner to its head, in order; returns the version of each. Safe to run by many at once.

    Raises Misconfigured for a schema of newer code that leaves this code behind; one that does not is left as it is.
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
    found = _version(connection, owner)
    if found.number is not None and int(found.number) > owner.newest:
        if problem := judge(owner, found):
            raise Misconfigured(problem)
        return found.number
    script = ScriptDirectory(str(owner.folder), version_locations=[str(owner.folder / "versions")])

    def steps(revision: Any, _: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)  # noqa: SLF001 - what Alembic's own upgrade command calls

    context = MigrationContext.configure(
        connection, opts={"version_table": owner.version_table, "fn": steps, "script": script}
    )
    with Operations.context(context):
        context.run_migrations()
    _write_floor(connection, owner, script)
    return context.get_current_revision() or "base"


def _write_floor(connection: Connection, owner: Owner, script: ScriptDirectory) -> None:
    """The highest that any revision asks for: what one of them has contracted stays gone."""
    revisions = script.walk_revisions()
    floor = max(int(getattr(each.module, "works_from", each.revision)) for each in revisions)
    table, values = owner.floor_table, {"version": script.get_current_head(), "floor": floor}
    connection.execute(
        text(f"CREATE TABLE IF NOT EXISTS {table} (version_num VARCHAR(32) NOT NULL, oldest_code INTEGER NOT NULL)")
    )
    connection.execute(text(f"DELETE FROM {table}"))
    connection.execute(text(f"INSERT INTO {table} (version_num, oldest_code) VALUES (:version, :floor)"), values)


async def schema_problems(database: Database, owners: Sequence[Owner]) -> list[str]:
    """Why this code must not work on this schema, a sentence each; empty when it may."""
    async with database.reader.connect() as connection:
        return await connection.run_sync(
            lambda each: [problem for owner in owners if (problem := judge(owner, _version(each, owner)))]
        )


async def read_versions(database: Database, owners: Sequence[Owner]) -> dict[str, Version]:
    """Owner's name → what the database says of it."""
    async with database.reader.connect() as connection:
        return await connection.run_sync(lambda each: {owner.name: _version(each, owner) for owner in owners})


def judge(owner: Owner, found: Version) -> str | None:
    if found.number is None:
        return f"the {owner.name} schema is not there: run the migrations"
    at = f"the {owner.name} schema is at {found.number}"
    if int(found.number) < owner.oldest:
        return f"{at}, this code needs {owner.oldest:04d} or later: run the migrations"
    if int(found.number) <= owner.newest or (found.floor is not None and found.floor <= owner.newest):
        return None
    return f"{at}, this code knows only up to {owner.newest:04d}: deploy newer code"


def _version(connection: Connection, owner: Owner) -> Version:
    seen = inspect(connection)
    number = floor = None
    if seen.has_table(owner.version_table):
        number = connection.execute(text(f"SELECT max(version_num) FROM {owner.version_table}")).scalar()
    if number is not None and int(number) > owner.newest and seen.has_table(owner.floor_table):
        query = text(f"SELECT max(oldest_code) FROM {owner.floor_table} WHERE version_num = :number")
        floor = connection.execute(query, {"number": number}).scalar()
    return Version(number, floor)
