"""What a database's URL asks for holds for every connection, and what may take long is not cut off."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.db.engine import Database
from shared.db.migrate import Owner
from shared.db.sql import Statement
from shared.runtime import migrate
from shared.testing.servers import Postgres, remove

ONE = Statement("one", "SELECT 1 AS one")
SLEEPS = """
revision, down_revision = "0001", None

def upgrade():
    from alembic import op
    op.execute("SELECT pg_sleep(0.6)")
"""


async def by_driver(database: Database) -> None:
    assert (await database.fetch(ONE))[0]["one"] == 1


async def by_engine(database: Database) -> None:
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1


async def by_reader(database: Database) -> None:
    async with database.reader.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1


async def alone(database: Database) -> None:
    async with database.dedicated() as connection:
        assert (await connection.fetch(ONE))[0]["one"] == 1


WAYS = pytest.mark.parametrize("way", [by_driver, by_engine, by_reader, alone])


async def tried(url: str, way: Callable[[Database], Awaitable[None]]) -> None:
    database = Database(url, pool=2)
    await database.open()
    try:
        await way(database)
    finally:
        await database.close()


@WAYS
@pytest.mark.parametrize("query", ["", "?sslmode=disable", "?sslmode=prefer"])
async def test_every_way_takes_the_url_as_it_is(
    postgres_url: str, query: str, way: Callable[[Database], Awaitable[None]]
) -> None:
    await tried(postgres_url + query, way)


@WAYS
async def test_encryption_that_is_asked_for_is_not_left_out(
    postgres_url: str, way: Callable[[Database], Awaitable[None]]
) -> None:
    """The server of these tests speaks no TLS: whoever is connected has passed over what the URL says."""
    with pytest.raises(ConnectionError, match="SSL"):
        await tried(f"{postgres_url}?sslmode=require", way)


SET = Statement(
    "set",
    "SELECT name, setting, source FROM pg_settings "
    "WHERE name IN ('enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'jit')",
)


async def test_hot_statements_plan_by_key_behind_a_pooler_too(postgres_url: str) -> None:
    """What a session starts with (`client`) must be what PgBouncer knows, which refuses anything else."""
    database = Database(postgres_url, pool=2)
    await database.open()
    try:
        rows = list(await database.fetch(SET))
        async with database.dedicated() as connection:
            rows += await connection.fetch(SET)
        assert {(row["setting"], row["source"]) for row in rows} == {("off", "session")}
        assert len(rows) == 8
        started = Statement("started", "SELECT array_agg(name) AS names FROM pg_settings WHERE source = 'client'")
        names = (await database.fetch(started))[0]["names"]
        assert set(names) <= {"application_name", "client_encoding"}
    finally:
        await database.close()


async def test_a_statement_has_its_limit(postgres_url: str) -> None:
    database = Database(postgres_url, pool=2, command_limit_s=0.2)
    with pytest.raises((asyncio.TimeoutError, TimeoutError)):
        async with database.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(0.6)"))
    await database.close()


async def test_a_migration_takes_as_long_as_it_takes(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index on a large table would be cut off again and again, and nothing would ever start."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001_sleeps.py").write_text(SLEEPS)
    monkeypatch.setattr(migrate, "owners", lambda: [Owner("slow", tmp_path, 1, 1)])
    monkeypatch.setitem(Database.__init__.__kwdefaults__, "command_limit_s", 0.2)  # as if half a minute were that
    assert await migrate.upgrade(postgres_url) == {"slow": "0001"}


def test_migrations_wait_for_a_database_that_is_not_there_yet() -> None:
    """In a new cluster the Job starts before its database: it is not to fail, and be started again ever more rarely."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-late-"))
    server = Postgres(folder / "postgres").start()
    server.stop()
    env = {**os.environ, "HOLDFAST_DATABASE_URL": server.url}
    command = [sys.executable, "-m", "shared.runtime.migrate"]
    at_once = subprocess.run(command, env=env, capture_output=True, check=False)
    assert at_once.returncode == 2
    waiting = subprocess.Popen([*command, "--wait-s", "60"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert waiting.stdout is not None
    try:
        assert b"database_awaited" in waiting.stdout.readline()
        server.start()
        last = waiting.stdout.read().splitlines()[-1]
        assert json.loads(last)["ok"] is True
        assert waiting.wait(10) == 0
    finally:
        waiting.kill()
        waiting.wait()
        server.stop()
        remove(folder)
