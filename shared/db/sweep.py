"""Sweeps: what may go leaves a table in small batches, along one index, each batch in a transaction of its own.

`look` takes the next keys after a cursor, in the order of the index, and decides nothing; `delete` takes those of them
that may go. So a batch reads as many rows as its limit says, however many have to stay, a batch never meets what the
one before it has left (rows that stay, and index entries of rows that are gone and not vacuumed yet), and a sweep that
was interrupted goes on from its cursor. A batch that takes long makes the next ones smaller; between two of them the
database has as long for others. Refuses nothing: whoever defines a sweep says what may go.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.db.engine import Database
from shared.db.sql import Connection, Row, Statement
from shared.kernel.faultpoints import strike

BATCH_LIMIT_S = 1.0  # of one transaction: then it is rolled back, and tried with fewer rows
BATCH_AIM_S = 0.25  # past this the next batch has half the rows
PAUSE_MOST_S = 0.25
LEAST_ROWS = 10
FAILED_MOST = 5  # batches of LEAST_ROWS in succession: then the database is to be looked at, not asked again
Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Sweep:
    """`look`: parameters `values`, `after_<column>` for each key column, and `limit`; it gives the key columns.

    `delete`: parameters `values`, rows of keys; it gives a row for each that went. `start` is below every key. `gone`
    runs in the same transaction, with those rows, and says how many of which other tables went with them. `after` runs
    once that is committed, with those rows: for what they made count elsewhere. Its time is the sweep's, too.
    """

    table: str
    look: Statement
    delete: Statement
    key: tuple[str, ...]
    start: Key
    values: Mapping[str, Any]
    gone: Callable[[Connection, Sequence[Row]], Awaitable[Mapping[str, int]]] | None = None
    after: Callable[[Sequence[Row]], Awaitable[None]] | None = None


@dataclass
class Swept:
    """What became of some sweeps: rows that went by table, and where to go on (`at` is None when all is done)."""

    rows: dict[str, int]
    at: str | None = None
    after: Key | None = None


async def sweep_all(
    database: Database,
    sweeps: Sequence[Sweep],
    *,
    batch: int,
    budget_s: float,
    stopping: Callable[[], bool] = lambda: False,
    at: str | None = None,
    after: Key | None = None,
) -> Swept:
    """One after the other, for `budget_s` at most, or until `stopping`; from `at` and `after` of an earlier call.

    When `at` names none of them (a deploy came between), from the first. Raises TimeoutError when not even a few rows
    can be swept in time.
    """
    names = [sweep.table for sweep in sweeps]
    first = names.index(at) if at in names else 0
    found = Swept(dict.fromkeys(names, 0))
    until_s = time.monotonic() + budget_s
    for number, sweep in enumerate(sweeps[first:]):
        cursor = after if number == 0 and at in names and after is not None else sweep.start
        limit, failed = batch, 0
        while True:
            if stopping() or time.monotonic() >= until_s:
                return Swept(found.rows, sweep.table, cursor)
            began = time.monotonic()
            step = await _batch(database, sweep, cursor, limit)
            took_s = time.monotonic() - began
            failed = failed + 1 if step is None and limit <= LEAST_ROWS else 0
            if failed > FAILED_MOST:
                raise TimeoutError(f"{LEAST_ROWS} rows of {sweep.table} cannot be swept within {BATCH_LIMIT_S:g} s")
            if step is None or took_s > BATCH_AIM_S:
                limit = max(min(batch, LEAST_ROWS), limit // 2)
            if step is not None:
                for table, count in step.gone.items():
                    found.rows[table] = found.rows.get(table, 0) + count
                if sweep.after is not None and step.went:
                    await sweep.after(step.went)
                if step.last is None:
                    break
                cursor = step.last
            strike("sweep.batch")
            await asyncio.sleep(min(took_s, PAUSE_MOST_S))
    return found


@dataclass(frozen=True, slots=True)
class _Step:
    gone: Mapping[str, int]
    went: Sequence[Row]
    last: Key | None  # None: there was nothing after it


async def _batch(database: Database, sweep: Sweep, cursor: Key, limit: int) -> _Step | None:
    """None: it took too long, and nothing of it is written."""
    after = {f"after_{name}": value for name, value in zip(sweep.key, cursor, strict=True)}
    try:
        async with asyncio.timeout(BATCH_LIMIT_S), database.transaction() as connection:
            found = await connection.fetch(sweep.look, {**sweep.values, **after, "limit": limit})
            if not found:
                return _Step({}, (), None)
            keys: list[Key] = [tuple(row[name] for name in sweep.key) for row in found]
            went = await connection.fetch(sweep.delete, sweep.values, keys)
            gone = {sweep.table: len(went)}
            if went and sweep.gone is not None:
                gone.update(await sweep.gone(connection, went))
    except TimeoutError:
        return None
    return _Step(gone, went, keys[-1] if len(keys) == limit else None)
