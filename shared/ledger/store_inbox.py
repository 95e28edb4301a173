"""The inbox of dead letters, read: groups of what failed alike, and which letters a decision means, batch by batch.

Both walk `ix_job_alike`, which keeps the letters of one task and fingerprint together in the order in which they died.
Every read is bounded by a name: a look at the groups by what it finds and counts, a batch by what it may take.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.engine import Database
from shared.db.sql import Connection, Statement

GROUPS_LIMIT = 50
GROUPS_MOST = 500  # that one look finds, from which the largest are shown
LETTERS_MOST = 50_000  # that one look counts, shared out among the groups; a larger group is counted so far

# From each group's first letter straight to the next group's: what a look costs does not grow with the letters.
_FIRSTS = text(
    """
    WITH RECURSIVE step (n, id) AS (
         SELECT 1, (SELECT id FROM job WHERE tenant = :tenant AND state = 'dead'
                     ORDER BY task, error_fingerprint, finished_at, id LIMIT 1)
          UNION ALL
         SELECT step.n + 1, (SELECT id FROM job
                              WHERE tenant = :tenant AND state = 'dead'
                                AND (task, error_fingerprint) > (last.task, last.error_fingerprint)
                              ORDER BY task, error_fingerprint, finished_at, id LIMIT 1)
           FROM step JOIN job AS last ON last.id = step.id
          WHERE step.n < :most)
    SELECT id FROM step WHERE id IS NOT NULL
    """
)
_ALIKE = "tenant = :tenant AND state = 'dead' AND task = f.task AND error_fingerprint = f.error_fingerprint"
_GROUPS = text(
    f"""
    SELECT f.id, f.task, f.queue, f.error_fingerprint AS fingerprint, f.finished_at AS first_seen,
           l.finished_at AS last_seen, l.id AS last, l.error_type, l.error_message, f.count
      FROM (SELECT f.id, f.task, f.queue, f.error_fingerprint, f.finished_at,
                   (SELECT id FROM job WHERE {_ALIKE} ORDER BY finished_at DESC, id DESC LIMIT 1) AS last,
                   (SELECT count(*) FROM (SELECT 1 FROM job WHERE {_ALIKE} LIMIT :cap) AS counted) AS count
              FROM job AS f WHERE f.id IN :ids) AS f
      JOIN job AS l ON l.id = f.last
    """
).bindparams(bindparam("ids", expanding=True))
_DEAD = Statement(
    "dead_of_ids",
    "SELECT id, task, args FROM job WHERE id {any:ids} AND tenant = :tenant AND {guard:job.state} = 'dead'",
)
_EDIT = Statement(
    "edit_dead",
    """
    UPDATE job SET args = :args
     WHERE id {any:ids} AND tenant = :tenant AND task = :task AND {guard:job.state} = 'dead'
    RETURNING id
    """,
)
_OPEN = text("SELECT count(*) AS count FROM job WHERE state = 'dead'")


@dataclass(frozen=True, slots=True)
class Matching:
    """Which dead letters: all of the tenant, narrowed by what is given. Every dead letter has a fingerprint, if "".

    `until_us` leaves out what died later, `ids` all others.
    """

    task: str | None = None
    queue: str | None = None
    fingerprint: str | None = None
    until_us: int | None = None
    ids: tuple[str, ...] | None = None

    def until(self, instant_us: int) -> "Matching":
        return replace(self, until_us=instant_us)


async def dead_matching(connection: Connection, tenant: str, matching: Matching, limit: int) -> tuple[list[str], bool]:
    """The first `limit` of them, and whether there are more. Of a task: in the order in which they died alike."""
    given = {
        "task": matching.task, "queue": matching.queue, "fingerprint": matching.fingerprint,
        "until": matching.until_us, "ids": None if matching.ids is None else list(matching.ids),
    }  # fmt: skip
    values = {name: value for name, value in given.items() if value is not None}
    statement = _matches(frozenset(values))
    rows = await connection.fetch(statement, {**values, "tenant": tenant, "limit": limit + 1})
    ids = [row["id"] for row in rows]
    return ids[:limit], len(ids) > limit


async def edit_dead(
    connection: Connection, tenant: str, ids: Sequence[str], packed: Callable[[str], Awaitable[str]]
) -> dict[str, str]:
    """Give those of `ids` that are dead what `packed(task)` says; returns the arguments that each had (JSON).

    To be retried in the same transaction. Whatever `packed` raises leaves all as they were, if the transaction does.
    """
    rows = await connection.fetch(_DEAD, {"ids": sorted(ids), "tenant": tenant})
    before = {row["id"]: row["args"] for row in rows}
    for task in sorted({row["task"] for row in rows}):
        chosen = sorted(row["id"] for row in rows if row["task"] == task)
        await connection.fetch(_EDIT, {"ids": chosen, "tenant": tenant, "task": task, "args": await packed(task)})
    return before


async def dead_groups(database: Database, tenant: str) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Dead letters that failed alike, the largest groups first, and whether there are more groups than were looked at.

    Each with its first and last instant (microseconds), the error of its latest letter, and `at_least`: whether there
    are more letters than were counted.
    """
    async with database.reader.connect() as connection:
        found = await connection.execute(_FIRSTS, {"tenant": tenant, "most": GROUPS_MOST + 1})
        firsts = list(found.scalars())
        if not firsts:
            return [], False
        groups = await _counted(connection, tenant, firsts[:GROUPS_MOST], LETTERS_MOST // min(len(firsts), GROUPS_MOST))
        cut = [first for first, group in groups.items() if group["at_least"]]
        left = LETTERS_MOST - sum(group["count"] for group in groups.values())
        if cut and left >= len(cut):  # what small groups have left over is for the large ones
            share = LETTERS_MOST // min(len(firsts), GROUPS_MOST) + left // len(cut)
            groups |= await _counted(connection, tenant, cut, share)
    largest = sorted(groups.values(), key=lambda group: (group["count"], group["last_seen"]), reverse=True)
    return largest[:GROUPS_LIMIT], len(firsts) > GROUPS_LIMIT


async def _counted(
    connection: AsyncConnection, tenant: str, firsts: Sequence[str], cap: int
) -> dict[str, dict[str, Any]]:
    """The groups by their first letter, each counted up to `cap`; one that has just been resolved is missing."""
    values = {"tenant": tenant, "ids": list(firsts), "cap": cap + 1}
    rows = (await connection.execute(_GROUPS, values)).mappings()
    return {row["id"]: {**row, "count": min(row["count"], cap), "at_least": row["count"] > cap} for row in rows}


async def count_dead(database: Database) -> int:
    async with database.reader.connect() as connection:
        return int((await connection.execute(_OPEN)).scalar_one())


@cache
def _matches(given: frozenset[str]) -> Statement:
    """One statement for each shape: a condition that may be absent hides from the planner what could be looked up."""
    tests = {
        "task": "task = :task", "queue": "queue = :queue", "fingerprint": "error_fingerprint = :fingerprint",
        "until": "finished_at <= :until",
    }  # fmt: skip
    state = "id {any:ids} AND {guard:job.state} = 'dead'" if "ids" in given else "state = 'dead'"
    where = " AND ".join(["tenant = :tenant", state, *(test for name, test in tests.items() if name in given)])
    order = "error_fingerprint, finished_at, id" if "task" in given and "ids" not in given else "id"
    return Statement("dead_matches", f"SELECT id FROM job WHERE {where} ORDER BY {order} LIMIT :limit")
