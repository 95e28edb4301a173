"""The ledger as a process sees it: the `Database` interface over one in-memory SQLite that all processes share.

A statement, and a transaction, happen at one instant. That is what BEGIN IMMEDIATE gives on SQLite; on PostgreSQL the
writes that matter are single statements.
"""

import sqlite3
from contextlib import asynccontextmanager
from functools import cache

from sqlalchemy import create_engine

from shared.db.migrate import _upgrade_all
from shared.ledger.schema import LEDGER
from tests.simulation.witness import TRIGGERS, mute

EFFECT = "CREATE TABLE effect (job_id TEXT NOT NULL, fence INTEGER NOT NULL, child TEXT NOT NULL)"


@cache
def shared() -> sqlite3.Connection:
    """A migrated ledger with the witness's triggers and the table that handlers write to.

    All runs of a process use it one after the other, because compiling the statements costs more than a run.
    """
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        _upgrade_all(connection, [LEDGER])
        connection.commit()
        raw = connection.connection.driver_connection
        raw.executescript(";\n".join([EFFECT, *TRIGGERS]))
        image = raw.serialize()
    engine.dispose()
    opened = sqlite3.connect(":memory:", isolation_level=None, cached_statements=500)
    opened.deserialize(image)
    opened.row_factory = sqlite3.Row
    return opened


_RELAXED = {"mark_dispatched", "undispatch"}
_MARKS = "SELECT id, state, dispatched_at FROM job WHERE state IN ('ready', 'dispatched')"


class Ledger:
    """The one database of a run.

    The relay commits its marks without waiting for the disk, as on PostgreSQL: until something else is committed, which
    waits for all that came before it, they can be lost with the server.
    """

    def __init__(self, witness) -> None:
        self._raw = shared()
        self._unflushed = []  # what each such mark has changed
        self.on_mark = None  # called once, after the next one
        self._witness = witness
        self._open = False
        mute(self._raw)
        for table in (
            "job", "job_attempt", "incarnation", "job_tally", "effect", "lane", "queue_pause", "schedule", "cron_tick",
        ):  # fmt: skip
            self._raw.execute(f"DELETE FROM {table}")
        witness.attach(self._raw)

    def execute(self, statement, params=None, rows=()):
        if self._open:
            raise AssertionError(f"{statement.name} ran while a transaction was open")
        written = self._raw.total_changes
        marks = self.query(_MARKS) if statement.name in _RELAXED else None
        found = self.run(statement, params, rows)
        if marks is not None:
            changed = {row["id"] for row in found}
            if changed:
                self._unflushed.append([tuple(row) for row in marks if row["id"] in changed])
            self._tell_of_mark(changed)
        elif self._raw.total_changes > written:
            self._unflushed.clear()
        self._witness.committed()
        return found

    def _tell_of_mark(self, changed):
        if changed and self.on_mark is not None:
            on_mark, self.on_mark = self.on_mark, None
            on_mark()

    def lose_marks(self, kept):
        """A crash of the server: of the marks that are not on its disk yet, all but the first `kept` never were."""
        lost, self._unflushed = self._unflushed[kept:], []
        for job, state, dispatched_at in (mark for marks in reversed(lost) for mark in marks):
            values = (state, dispatched_at, job)
            self._raw.execute("UPDATE job SET state = ?, dispatched_at = ? WHERE id = ?", values)
        self._witness.committed()
        return [job for marks in lost for job, _, _ in marks]

    @property
    def unflushed(self):
        return len(self._unflushed)

    def run(self, statement, params=None, rows=()):
        return self._raw.execute(statement.sql("sqlite"), statement.bind("sqlite", params, rows)).fetchall()

    def begin(self):
        if self._open:
            raise AssertionError("a transaction was left open")
        self._raw.execute("BEGIN IMMEDIATE")
        self._open = True

    def commit(self):
        self._open = False
        self._raw.execute("COMMIT")
        self._unflushed.clear()
        self._witness.committed()

    def rollback(self):
        self._open = False
        self._raw.execute("ROLLBACK")
        self._witness.rolled_back()

    def query(self, sql, *values):
        return self._raw.execute(sql, values).fetchall()


class SimDatabase:
    dialect = "sqlite"
    url = "sqlite:///simulated"

    def __init__(self, process, lock=None) -> None:
        """`lock` is what the session of this connection holds."""
        self._process = process
        self._ledger = process.world.ledger
        self._lock = lock
        self.clock = process.clock

    async def fetch(self, statement, params=None, rows=()):
        if statement.name == "incarnation_born":
            self._process.world.witness.holders[params["id"]] = self._process

        def operate():
            found = self._ledger.execute(statement, params, rows)
            self._process.world.note(self._process, statement.name, found)
            return found

        return await self._process.call("database", statement.name, operate, self._lock)

    @asynccontextmanager
    async def transaction(self, *, relaxed=False):
        process, ledger = self._process, self._ledger
        fate = await process.reach("database", "transaction")
        inside = Inside(process)
        ledger.begin()
        try:
            yield inside
        except BaseException:
            ledger.rollback()
            raise
        if fate == "late" and inside.is_recording:
            # One statement on PostgreSQL: the server goes on with it after the client has given up.
            ledger.rollback()
            process.world.later(process.world.random.uniform(0.01, 6.0), process, "transaction", inside.replay)
        else:
            ledger.commit()
            for name, found in inside.notes:
                process.world.note(process, name, found)
        await process.answered(fate)


_RECORDING = {"end_attempts", "note_attempts", "own_attempts"}


class Inside:
    """A connection inside the transaction."""

    def __init__(self, process) -> None:
        self._process = process
        self._ledger = process.world.ledger
        self._said = []
        self.notes = []

    async def fetch(self, statement, params=None, rows=()):
        found = self._ledger.run(statement, params, rows)
        self._said.append((statement, params, rows))
        self.notes.append((statement.name, found))
        return found

    @property
    def is_recording(self):
        return all(statement.name in _RECORDING for statement, _, _ in self._said)

    def replay(self) -> None:
        """The same writes, later. Attempt rows only of what ended now: PostgreSQL does both in one statement."""
        self._ledger.begin()
        ended = set()
        try:
            for statement, params, rows in self._said:
                if statement.name == "note_attempts":
                    rows = [row for row in rows if (row[0], row[1]) in ended]  # noqa: PLW2901
                    if not rows:
                        continue
                found = self._ledger.run(statement, params, rows)
                if statement.name == "end_attempts":
                    ended = {(row["id"], row["fence"]) for row in found}
                self._process.world.note(self._process, f"late:{statement.name}", found)
        except BaseException:
            self._ledger.rollback()
            raise
        self._ledger.commit()
