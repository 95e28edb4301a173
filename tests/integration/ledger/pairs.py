"""Two jobs, and every order of what can befall them: each step is the product's own statements, on a real database.

A state is what the two rows say that any statement asks about; numbers that only rise are kept as what they are
compared for. Each step begins with the rows of one state and reads the rows that it has left. What happens between a
statement and its answer is `tests.simulation.model`'s.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from shared.db.sql import Connection, Statement
from shared.ledger import states
from shared.ledger.states import TERMINAL, Failure
from shared.ledger.store_claim import claim, own_running
from shared.ledger.store_dead import cancel_job, discard_jobs, retry_jobs
from shared.ledger.store_dispatch import MARK
from shared.ledger.store_line import MOVE_INTO_LINE
from shared.ledger.store_record import record
from tests.integration.ledger.jobs import NOW_US, QUEUE, job

LATER_US = NOW_US + 60_000_000
_RETRIED = ("dead", "cancelled")
IDS = (job(1).id, job(2).id)
INCARNATION = "inc_a"
_ASKED = (
    "id, state, due, run_at, attempt, waits_for, counted, parent, unique_key, on_dead, cancel_requested_at, error_type"
)
_READ = Statement("pair", f"SELECT {_ASKED} FROM job ORDER BY id")
_FORGET = "DELETE FROM job_attempt"
_EMPTY = Statement("empty_jobs", "DELETE FROM job", postgres=f"WITH gone AS ({_FORGET}) DELETE FROM job")
_SQLITE_FORGET = Statement("empty_attempts", _FORGET)
_TYPES = {
    "id": "text", "queue": "text", "task": "text", "args": "text", "tenant": "text", "priority": "smallint",
    "run_at": "bigint", "state": "text", "fence": "integer", "attempt": "integer", "max_attempts": "integer",
    "crashes": "integer", "releases": "integer", "timeout_s": "float8", "created_at": "bigint", "due": "boolean",
    "waits_for": "integer", "counted": "boolean", "parent": "text", "unique_key": "text", "on_dead": "text",
    "cancel_requested_at": "bigint", "error_type": "text", "incarnation": "text", "deadline": "bigint",
    "claimed_at": "bigint", "dispatched_at": "bigint", "finished_at": "bigint",
}  # fmt: skip
_WRITE = Statement(
    "put_pair",
    f"INSERT INTO job ({', '.join(_TYPES)}) SELECT {', '.join(_TYPES)} FROM {{rows}} AS i WHERE TRUE",
    rows=_TYPES,
)


class Row(NamedTuple):
    """`later`: its time has not come. `asked`: to be cancelled while it runs."""

    id: str
    state: str = "ready"
    due: bool = False
    later: bool = False
    attempt: int = 0
    waits_for: int = 0
    counted: bool = False
    parent: str | None = None
    unique_key: str | None = None
    on_dead: str | None = None
    asked: bool = False


Pair = tuple[Row, ...]
Do = Callable[[Connection], Awaitable[Any]]


async def put(connection: Connection, pair: Pair, *, sqlite: bool) -> None:
    await connection.fetch(_EMPTY)
    if sqlite:
        await connection.fetch(_SQLITE_FORGET)
    if pair:
        await connection.fetch(_WRITE, None, [_values(row) for row in pair])


async def there(connection: Connection) -> Pair:
    return tuple(
        Row(
            row["id"], row["state"], bool(row["due"]), row["run_at"] > NOW_US and row["state"] not in TERMINAL,
            row["attempt"], row["waits_for"], bool(row["counted"]), row["parent"], row["unique_key"], row["on_dead"],
            row["cancel_requested_at"] is not None and row["state"] not in TERMINAL,
        )
        for row in await connection.fetch(_READ)
    )  # fmt: skip


def moves(pair: Pair, *, sqlite: bool) -> dict[str, Do]:
    """What the relay, workers, time and people can do to jobs that are there; of people, what begins with `they`."""
    found: dict[str, Do] = {}
    values = {"queue": QUEUE, "now": NOW_US, "floor": 0, "most": 9}
    if any(row.state == "ready" and not row.due and not row.later for row in pair):
        found["the relay moves what is due into line"] = lambda c: c.fetch(MOVE_INTO_LINE, values)
    for number, row in enumerate(pair):
        name = "AB"[IDS.index(row.id)]
        if row.state == "ready" and row.due:
            found[f"{name} is dispatched"] = _bound(lambda c, i: c.fetch(MARK, {"ids": [i], "now": NOW_US}), row.id)
        if row.state == "dispatched":
            found[f"{name} is claimed"] = _bound(lambda c, i: claim(c, [i], INCARNATION, NOW_US), row.id)
        if row.later:
            come = (*pair[:number], row._replace(later=False), *pair[number + 1 :])
            found[f"{name}'s time comes"] = _bound(lambda c, rows: put(c, rows, sqlite=sqlite), come)
        if row.state == "running":
            for kind in ENDS:
                found[f"{name} is {kind}"] = _ending(row.id, kind, sqlite=sqlite)
        if row.state in TERMINAL:
            found[f"they retry {name}"] = _bound(lambda c, i: retry_jobs(c, "t1", [i], NOW_US, states=_RETRIED), row.id)
        else:
            found[f"they cancel {name}"] = _bound(lambda c, i: cancel_job(c, "t1", i, NOW_US), row.id)
        if row.state == "dead":
            found[f"they discard {name}"] = _bound(lambda c, i: discard_jobs(c, "t1", [i], NOW_US), row.id)
    return found


_BOOM = Failure("Boom", "it broke")
ENDS: dict[str, Callable[[states.Claim], states.Transition]] = {
    "completed": lambda held: states.completed(held, NOW_US, started_at=NOW_US),
    "failed": lambda held: states.failed(held, NOW_US, _BOOM, started_at=NOW_US, delay_s=60.0),
    "dead": lambda held: states.dead(held, NOW_US, _BOOM, started_at=NOW_US),
}


def _ending(job_id: str, kind: str, *, sqlite: bool) -> Do:
    async def end(connection: Connection) -> None:
        (held,) = [one for one in await own_running(connection, INCARNATION) if one.id == job_id]
        assert await record(connection, [ENDS[kind](held)], sqlite=sqlite) == ["recorded"]

    return end


def _bound(do: Callable[[Connection, Any], Awaitable[Any]], given: Any) -> Do:
    return lambda connection: do(connection, given)


def _values(row: Row) -> tuple[Any, ...]:
    running, ended = row.state == "running", row.state in TERMINAL
    known = {
        "id": row.id, "queue": QUEUE, "task": "suite.work", "args": "{}", "tenant": "t1", "priority": 5,
        "run_at": LATER_US if row.later else NOW_US, "state": row.state, "fence": 1, "attempt": row.attempt,
        "max_attempts": 2, "crashes": 0, "releases": 0, "timeout_s": 5.0, "created_at": NOW_US, "due": row.due,
        "waits_for": row.waits_for, "counted": row.counted, "parent": row.parent, "unique_key": row.unique_key,
        "on_dead": row.on_dead, "cancel_requested_at": NOW_US if row.asked else None,
        "error_type": "Boom" if row.state in ("dead", "cancelled") else None,
        "incarnation": INCARNATION if running else None, "deadline": LATER_US if running else None,
        "claimed_at": NOW_US if running else None, "dispatched_at": NOW_US if row.state == "dispatched" else None,
        "finished_at": NOW_US if ended else None,
    }  # fmt: skip
    return tuple(known[name] for name in _TYPES)
