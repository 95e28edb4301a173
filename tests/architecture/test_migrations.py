"""Every owner's lineage builds what its models say, on both databases: the migrations and `create_all` are compared.

Alembic's own comparison sees columns and types; what it does not see (the conditions of partial indexes, collations,
defaults, checks) is read from the catalogues of two databases, one migrated, one created from the models.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import warnings

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.db.naming import Table
from shared.kernel.ids import new_id
from shared.ledger import models
from shared.runtime.schema import owners
from tests.architecture.tree import services

for service in services():
    importlib.import_module(f"services.{service}.models")
LEDGER_TABLES = {name for name, table in Table.metadata.tables.items() if any(
    getattr(value, "__table__", None) is table for value in vars(models).values()
)}  # fmt: skip

_POSTGRES = (
    """SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name
         FROM information_schema.columns WHERE table_schema = 'public'""",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    """SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c
         JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = 'public'""",
)


@pytest.fixture(params=["sqlite", "postgres"])
def two_urls(request, tmp_path):
    """Two empty databases of one kind."""
    if request.param == "sqlite":
        return [f"sqlite:///{tmp_path / name}.db" for name in ("migrated", "created")]
    server = request.getfixturevalue("postgres_server")
    return [asyncio.run(_postgres(server.url)) for _ in range(2)]


async def _postgres(url: str) -> str:
    import asyncpg

    name = f"t_{new_id('arch').replace('_', '')}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return url.rpartition("/")[0] + f"/{name}"


async def test_the_migrations_build_what_the_models_say(two_urls: list[str]) -> None:
    migrated, created = (Database(url, pool=2) for url in two_urls)
    try:
        await migrate(migrated, owners())
        async with created.engine.begin() as connection:
            await connection.run_sync(Table.metadata.create_all)
        async with migrated.engine.connect() as connection:
            assert await connection.run_sync(_differences) == []
        assert await _catalogue(migrated) == await _catalogue(created)
    finally:
        await migrated.close()
        await created.close()


def test_every_table_belongs_to_one_owner() -> None:
    names = set(Table.metadata.tables)
    assert len(LEDGER_TABLES) >= 8
    assert [name for name in names - LEDGER_TABLES if name.split("_")[0] not in services()] == []


# Not the tables' own text: a column that was added later stands elsewhere in it.
_SQLITE = (
    "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'table'",
    """SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk
         FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'""",
)
_BY_EXPRESSION = {"ix_job_line"}  # not reflected; the catalogues below are compared whole


def _differences(connection: Connection) -> list[object]:
    written = {table for owner in owners() for table in (owner.version_table, owner.floor_table)}
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _: not (kind == "table" and name in written) and name not in _BY_EXPRESSION,
        "include_object": lambda _thing, name, *_: name not in _BY_EXPRESSION,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*expression-based index")
        return compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata)


async def _catalogue(database: Database) -> set[tuple[object, ...]]:
    """Everything that the database's own catalogue tells of our tables, in one spelling."""
    written = {table for owner in owners() for table in (owner.version_table, owner.floor_table)}
    queries = _POSTGRES if database.dialect == "postgres" else _SQLITE
    async with database.reader.connect() as connection:
        found = [tuple(row) for query in queries for row in await connection.execute(text(query))]
    return {tuple(_spelled(cell) for cell in row) for row in found if not any(name in str(row) for name in written)}


def _spelled(cell: object) -> object:
    """Without the differences that mean nothing: white space, quotes."""
    return re.sub(r"\s*([(),])\s*", r"\1", re.sub(r"[\s\"]+", " ", cell)).strip() if isinstance(cell, str) else cell
