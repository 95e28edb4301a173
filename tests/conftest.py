"""Fixtures that every test may ask for: real servers, started at most once a session, and databases that are fresh.

Nothing is started until a test asks for it, and every server dies with this process. `database` runs a test once on
SQLite and once on PostgreSQL: the same names on both is what makes a suite a conformance suite.
"""

import asyncio
import os
import sqlite3
import tempfile
import warnings
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings

from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.kernel.ids import new_id
from shared.ledger.schema import LEDGER
from shared.testing.servers import Postgres, Valkey, remove

os.environ.setdefault("HOLDFAST_TX_CAP_S", "15")  # a disk that stalls for a second is no defect of what is tested
settings.register_profile("untimed", deadline=None)  # a busy machine is no defect: tests are never timed
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def server_folder():
    # Not pytest's own folder: PostgreSQL runs as an unprivileged user, who must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="holdfast-servers-"))
    yield folder
    remove(folder)


@pytest.fixture(scope="session")
def postgres_server(server_folder):
    server = Postgres(server_folder / "postgres")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel looks for XDG_RUNTIME_DIR when it is imported
        server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(server_folder):
    server = Valkey(server_folder / "valkey", append_only=False).start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server):
    """The session's Valkey, emptied; `.url` is what clients take."""
    import redis

    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server


@pytest.fixture(scope="module")
def postgres_url(postgres_server):
    """A PostgreSQL database of this module's own, empty."""
    name = f"t_{new_id('test').replace('_', '')}"
    asyncio.run(_execute(postgres_server.url, f"CREATE DATABASE {name}"))
    yield postgres_server.url.rpartition("/")[0] + f"/{name}"
    asyncio.run(_execute(postgres_server.url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@pytest.fixture
def sqlite_url(tmp_path):
    """A SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'holdfast.db'}"


@pytest.fixture(scope="session")
def ledger_file(tmp_path_factory):
    """A SQLite file with the ledger's schema, to copy."""
    path = tmp_path_factory.mktemp("ledger") / "template.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="module")
def postgres_ledger_url(postgres_url):
    asyncio.run(_migrate(postgres_url))
    return postgres_url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """The address of a database with the ledger's schema and no rows, on SQLite and then on PostgreSQL."""
    # Asked for by name, so that a run of the SQLite half alone starts no PostgreSQL.
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_url")
        _copy(request.getfixturevalue("ledger_file"), Path(url.removeprefix("sqlite:///")))
        return url
    url = request.getfixturevalue("postgres_ledger_url")
    asyncio.run(_empty(url))
    return url


@pytest.fixture
async def database(database_url):
    """An open database with the ledger's schema and no rows, on SQLite and then on PostgreSQL."""
    opened = Database(database_url, tx_cap_s=15)
    await opened.open()
    yield opened
    await opened.close()


def _copy(source, target):
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


async def _migrate(url):
    database = Database(url, tx_cap_s=15)
    try:
        await migrate(database, [LEDGER])
    finally:
        await database.close()


async def _empty(url):
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%\\_version'"
    )
    await connection.execute("TRUNCATE " + ", ".join(row["tablename"] for row in rows))
    await connection.close()


async def _execute(url, statement):
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
