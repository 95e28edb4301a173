"""A deploy without a gap: two versions of the code on one schema, on one another's rows and on one another's messages.

There is no earlier release yet. Its code is what this code was: an owner that knows the schema up to one version before
(`oldest`, `newest`), a worker that does not have the newest tasks, rows that say only what the first revision's columns
can, and messages as `tests/contracts/golden` has kept them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from shared.contracts.commands import ALL
from shared.db.engine import Database
from shared.db.migrate import Owner, judge, migrate, read_versions, schema_problems
from shared.db.sql import Statement
from shared.kernel.ids import new_id
from shared.ledger.audit import audit
from shared.ledger.schema import LEDGER
from shared.runtime.schema import owners
from tests.contracts.golden import golden
from tests.integration.engine.engine import Again, Do, Engine


def versions_of(owner) -> list[str]:
    script = ScriptDirectory(str(owner.folder), version_locations=[str(owner.folder / "versions")])
    return sorted(each.revision for each in script.walk_revisions())


@pytest.mark.parametrize("owner", owners(), ids=lambda owner: owner.name)
def test_an_owner_knows_its_newest_revision_and_works_with_no_older_one_than_it_says(owner) -> None:
    known = versions_of(owner)
    assert known == [f"{n:04d}" for n in range(1, len(known) + 1)]
    assert owner.newest == len(known), "a revision that its owner does not know is never waited for"
    assert 1 <= owner.oldest <= owner.newest


@pytest.mark.parametrize("owner", owners(), ids=lambda owner: owner.name)
async def test_the_code_before_goes_on_exactly_where_the_revisions_say_so(database: Database, owner) -> None:
    """The real revisions, judged by the owner as the previous code had it."""
    await migrate(database, [LEDGER, owner])
    script = ScriptDirectory(str(owner.folder), version_locations=[str(owner.folder / "versions")])
    floors = [int(getattr(each.module, "works_from", each.revision)) for each in script.walk_revisions()]
    for newest in range(owner.newest):
        before = replace(owner, oldest=min(owner.oldest, newest), newest=newest)
        (problem,) = await schema_problems(database, [before]) or [None]
        assert (problem is None) == (newest >= max(floors)), f"code up to {newest:04d}: {problem}"


async def test_an_expanded_schema_keeps_the_code_before_working_and_a_contracted_one_stops_it(
    database: Database, tmp_path: Path
) -> None:
    """Expand, roll, contract: a lineage of its own, whose revisions say whom they leave working."""
    newest = _lineage(tmp_path / "lineage", {"0001": None, "0002": 1, "0003": None})
    first, second, third = (replace(newest, oldest=1, newest=n) for n in (1, 2, 3))
    await _upgrade_to(database, newest, "0001")
    assert await schema_problems(database, [first]) == []
    await _upgrade_to(database, newest, "0002")
    assert await schema_problems(database, [first, second]) == [], "expanded: both versions of the code work"
    await database.fetch(_statement("INSERT INTO rolling_things (id) VALUES ('by the old columns only')"))
    await database.fetch(_statement("INSERT INTO rolling_things (id, added) VALUES ('by all of them', 'x')"))
    rows = await database.fetch(_statement("SELECT id, added FROM rolling_things ORDER BY id"))
    assert [tuple(row.values()) for row in map(dict, rows)] == [
        ("by all of them", "x"), ("by the old columns only", "as before"),
    ]  # fmt: skip
    assert await migrate(database, [replace(first, folder=newest.folder)]) == {"rolling": "0002"}, "left as it is"
    await _upgrade_to(database, newest, "0003")
    (problem,) = await schema_problems(database, [second])
    assert "deploy newer code" in problem
    assert await schema_problems(database, [third]) == []
    found = (await read_versions(database, [newest]))["rolling"]
    assert judge(first, found) is not None


def _statement(sql: str):
    return Statement("rollout", sql)


def _lineage(folder: Path, revisions: dict[str, int | None]):
    (folder / "versions").mkdir(parents=True)
    steps = {
        "0001": 'op.execute("CREATE TABLE rolling_things (id VARCHAR(40) PRIMARY KEY)")',
        "0002": "op.execute(\"ALTER TABLE rolling_things ADD added VARCHAR(40) NOT NULL DEFAULT 'as before'\")",
        "0003": 'op.execute("ALTER TABLE rolling_things RENAME COLUMN added TO renamed")',
    }
    before = None
    for revision, works_from in revisions.items():
        lines = ["from alembic import op", f"revision = {revision!r}", f"down_revision = {before!r}"]
        lines += [] if works_from is None else [f"works_from = {works_from}"]
        (folder / "versions" / f"{revision}.py").write_text(
            "\n".join([*lines, f"def upgrade():\n    {steps[revision]}"])
        )
        before = revision
    return Owner("rolling", folder, oldest=1, newest=len(revisions))


async def _upgrade_to(database: Database, owner, revision: str) -> None:
    """What `migrate` of the code of that revision does: its folder holds no later one."""
    kept = Path(owner.folder).parent / f"up-to-{revision}"
    (kept / "versions").mkdir(parents=True)
    for file in sorted((owner.folder / "versions").glob("*.py")):
        if file.stem <= revision:
            (kept / "versions" / file.name).write_text(file.read_text())
    await migrate(database, [replace(owner, folder=kept, newest=int(revision))])


@pytest.mark.parametrize("owner", owners(), ids=lambda owner: owner.name)
async def test_rows_of_before_live_through_every_revision(tmp_path: Path, owner) -> None:
    """Columns that a later revision adds to a table are nullable or have a default: old code names none of them."""
    database = Database(f"sqlite:///{tmp_path / 'rows.db'}", pool=2)
    script = ScriptDirectory(str(owner.folder), version_locations=[str(owner.folder / "versions")])

    def upgrade(connection: Connection, revision: str) -> dict[str, dict[str, tuple[bool, object]]]:
        opts = {"fn": lambda at, _: script._upgrade_revs(revision, at), "script": script,
                "version_table": owner.version_table}  # fmt: skip
        context = MigrationContext.configure(connection, opts=opts)
        with Operations.context(context):
            context.run_migrations()
        tables = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        return {
            table: {row[1]: (bool(row[3]), row[4]) for row in connection.execute(text(f"PRAGMA table_info({table})"))}
            for table in tables
        }

    demands = []
    try:
        async with database.engine.begin() as connection:
            before = await connection.run_sync(upgrade, "0001")
            for revision in versions_of(owner)[1:]:
                after = await connection.run_sync(upgrade, revision)
                demands += [
                    f"{revision}: {table}.{column}"
                    for table in before.keys() & after.keys()
                    for column in after[table].keys() - before[table].keys()
                    for needed, default in [after[table][column]]
                    if needed and default is None
                ]
                before = after
    finally:
        await database.close()
    assert demands == []


async def test_a_job_that_names_only_the_first_revisions_columns_is_run(engine: Engine) -> None:
    done: list[int] = []

    async def note(command: Do) -> None:
        done.append(command.number)

    engine.handle(Do, note)
    script = ScriptDirectory(str(LEDGER.folder), version_locations=[str(LEDGER.folder / "versions")])
    first = (Path(LEDGER.folder) / "versions" / "0001_first.py").read_text()
    assert script.get_current_head() != "0001", "there is a revision that such code does not know"
    job_id, now_us = new_id("job"), engine.database.clock.now_us()
    values = {
        "id": job_id, "task": Do.task, "queue": Do.queue, "state": "ready", "args": '{"number": 7, "added_later": [1]}',
        "tenant": "t", "lane": "t", "priority": 5, "timeout_s": 10.0, "run_at": now_us, "created_at": now_us,
        "attempt": 0, "fence": 0, "releases": 0, "crashes": 0, "max_attempts": 1,
        "retry": Do.retry.model_dump_json(),
    }  # fmt: skip
    named = {name: value for name, value in values.items() if f'"{name}"' in first or f"'{name}'" in first}
    assert {"id", "task", "queue", "state", "args", "run_at"} <= set(named)
    columns = ", ".join(named)
    await engine.change(f"INSERT INTO job ({columns}) VALUES ({', '.join(f':{name}' for name in named)})", **named)
    await engine.change("INSERT INTO job_tally (id, accepted, purged) VALUES (:id, 1, 0)", id=new_id("tly"))
    await engine.start()
    (row,) = await engine.ended(job_id)
    assert (row["state"], done) == ("completed", [7])
    assert (await audit(engine.database, [])).report()["ok"]


async def test_an_unknown_task_is_given_back_by_the_old_worker_and_done_by_the_new(engine: Engine) -> None:
    """The old worker has never heard of `lab.again`; the rollout replaces it before its patience ends."""
    done: list[int] = []

    async def note(command: Do) -> None:
        done.append(command.number)

    engine.handle(Do, note)
    (new_kind,) = await engine.enqueue(Again(number=2))
    (old_kind,) = await engine.enqueue(Do(number=1))
    await engine.start()
    await engine.until(lambda rows: rows[0]["releases"] == 1, "SELECT * FROM job WHERE id = :id", id=new_kind)
    (row,) = await engine.ended(old_kind)
    assert (row["state"], done) == ("completed", [1])
    (waiting,) = await engine.rows("SELECT * FROM job WHERE id = :id", id=new_kind)
    assert (waiting["state"], waiting["attempt"]) == ("ready", 0), "no attempt is spent"
    engine.handle(Again, note)  # the new worker
    await engine.change("UPDATE job SET run_at = 0 WHERE id = :id", id=new_kind)
    (row,) = await engine.ended(new_kind)
    assert (row["state"], row["attempt"], done) == ("completed", 1, [1, 2])
    assert [one["outcome"] for one in await engine.attempts(new_kind)] == ["released", "completed"]


async def test_fields_that_the_worker_does_not_know_are_passed_over(engine: Engine) -> None:
    seen: list[dict[str, object]] = []

    async def note(command: Do) -> None:
        seen.append(command.model_dump())

    engine.handle(Do, note)
    (job_id,) = await engine.enqueue(Do(number=1, words="as it was"))
    args = orjson.dumps({"number": 1, "words": "as it was", "added_later": {"deep": [1, 2]}}).decode()
    await engine.change("UPDATE job SET args = :args WHERE id = :id", args=args, id=job_id)
    await engine.start()
    (row,) = await engine.ended(job_id)
    assert (row["state"], seen) == ("completed", [{"number": 1, "words": "as it was"}])
    assert orjson.loads(row["args"])["added_later"] == {"deep": [1, 2]}, "a retry by newer code has all of it"


@pytest.mark.parametrize("name", ALL)
def test_messages_of_before_are_read_by_the_code_of_now(name: str) -> None:
    """Every payload that was ever published, with what a sender of tomorrow may add to it, and with nothing else."""
    for message in golden(name)["messages"]:
        assert ALL[name].model_validate_json(orjson.dumps({**message, "of_tomorrow": None})) == ALL[
            name
        ].model_validate(message)
