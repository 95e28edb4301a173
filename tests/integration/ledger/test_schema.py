"""The schema: migrated by many at once, and judged against what this code can work with."""

import asyncio
import sys
from dataclasses import replace

import pytest
from sqlalchemy import inspect, text

from shared.db.engine import Database
from shared.db.migrate import Version, judge, migrate, schema_problems
from shared.ledger.models import Job
from shared.ledger.schema import LEDGER

HEAD = f"{LEDGER.newest:04d}"
INDEXES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index'",
    "postgresql": "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'",
}
MIGRATE = """
import asyncio, sys
from shared.db.engine import Database
from shared.db.migrate import migrate
from shared.ledger.schema import LEDGER

print(asyncio.run(migrate(Database(sys.argv[1]), [LEDGER])))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def empty(empty_url):
    opened = Database(empty_url)
    await opened.open()
    if opened.dialect == "postgres":
        async with opened.begin() as connection:
            await connection.execute(text("DROP SCHEMA public CASCADE"))
            await connection.execute(text("CREATE SCHEMA public"))
    yield opened
    await opened.close()


async def test_an_empty_database_is_not_to_be_worked_with(empty):
    (problem,) = await schema_problems(empty, [LEDGER])
    assert "run the migrations" in problem


async def test_migrating_twice_is_migrating_once(empty):
    assert await migrate(empty, [LEDGER]) == {"ledger": HEAD}
    assert await migrate(empty, [LEDGER]) == {"ledger": HEAD}
    assert await schema_problems(empty, [LEDGER]) == []


async def test_several_processes_migrate_at_the_same_time(empty, empty_url):
    runs = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, empty_url, stdout=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    said = [(await run.communicate())[0] for run in runs]
    assert said == [f"{{'ledger': '{HEAD}'}}\n".encode()] * 3
    assert await schema_problems(empty, [LEDGER]) == []


async def test_the_migrations_build_what_the_models_say(empty):
    await migrate(empty, [LEDGER])

    def look(connection):
        seen = inspect(connection)
        indexes = connection.execute(text(INDEXES[connection.dialect.name])).scalars()
        tables = {name: {column["name"] for column in seen.get_columns(name)} for name in seen.get_table_names()}
        return tables, set(indexes)

    async with empty.reader.connect() as connection:
        tables, indexes = await connection.run_sync(look)
    ledger = (
        "job", "job_attempt", "incarnation", "job_tally", "dedup", "schedule", "cron_tick", "api_key", "lane",
        "queue_pause", "job_action", "served_task",
    )  # fmt: skip
    for name in ledger:
        assert tables[name] == {column.name for column in Job.metadata.tables[name].columns}
    assert indexes >= {index.name for index in Job.metadata.tables["job"].indexes}


async def test_a_schema_outside_the_codes_range_is_named(empty):
    await migrate(empty, [LEDGER])
    (old,) = await schema_problems(empty, [replace(LEDGER, oldest=98, newest=99)])
    assert "needs 0098 or later" in old
    (new,) = await schema_problems(empty, [replace(LEDGER, oldest=0, newest=0)])
    assert "deploy newer code" in new


@pytest.mark.parametrize(
    ("version", "floor", "fits"),
    [
        (None, None, False), ("0001", None, False), ("0002", None, True), ("0004", None, True),
        ("0005", None, False), ("0005", 5, False), ("0005", 4, True), ("0009", 2, True),
    ],
)  # fmt: skip
def test_the_range_includes_both_of_its_ends_and_what_newer_revisions_leave_working(version, floor, fits):
    assert (judge(replace(LEDGER, oldest=2, newest=4), Version(version, floor)) is None) == fits


async def test_tables_that_are_purged_are_vacuumed_often(database: Database) -> None:
    if database.dialect != "postgres":
        pytest.skip("SQLite has no vacuum of its own")
    asked = "SELECT relname, array_to_string(reloptions, ' ') AS options FROM pg_class WHERE reloptions IS NOT NULL"
    async with database.reader.connect() as connection:
        found = {row.relname: row.options for row in await connection.execute(text(asked))}
    assert "autovacuum_vacuum_scale_factor=0.05" in found["job"]
    assert "autovacuum_vacuum_scale_factor=0.02" in found["job_attempt"]
