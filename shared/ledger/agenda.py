"""What schedules mean, pure: the rows that the code asks for, and which ticks of a row make a job at a moment.

A tick is late for many reasons: downtime, a failover, a clock set forward; all are one case here. What a clock that was
set back leaves behind is the other: a next tick further away than the pattern says, which `changes` brings back to the
first instant that has not been decided. So no instant is decided twice, and none is passed over in silence.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from shared.contracts.command import Command, schedules_of
from shared.db.sql import Row
from shared.kernel.clock import SECOND_US
from shared.ledger.cron import due_ticks, next_tick, ticks
from shared.ledger.store_schedule import CODE, GONE

SKIP_GRACE_US = 30 * SECOND_US  # a tick is skipped when it is later than that: a failover or a deploy is not downtime
TENANT = "system"  # nobody's: its jobs stand in no customer's list


@dataclass(frozen=True, slots=True)
class Decision:
    """`makes` rise; `at_us` is the tick that is written when none is made, `missed` counts those that make no job."""

    at_us: int
    makes: tuple[int, ...]
    missed: int
    next_us: int


@dataclass(frozen=True, slots=True)
class Change:
    """`row` is what was there, or None; `definition` what is to stand there, and when it is due next."""

    row: Row | None
    definition: Mapping[str, Any]
    next_us: int | None


def decide(row: Row, now_us: int) -> Decision:
    """For a row whose `next_at` has come. Raises NeverError when it has no tick after that."""
    most = row["catch_up"] if row["missed"] == "all" else 1
    due = due_ticks(row["cron"], row["time_zone"], row["next_at"], now_us, most)
    latest = due.latest[-1]
    makes = () if row["missed"] == "skip" and now_us - latest > SKIP_GRACE_US else due.latest
    following = next_tick(row["cron"], row["time_zone"], max(now_us, latest))
    return Decision(latest, makes, due.count - len(makes), following)


def definitions(commands: Iterable[type[Command]]) -> dict[str, dict[str, Any]]:
    """Id → the columns that the code decides."""
    return {
        schedule_id: {
            "id": schedule_id,
            "task": command.task,
            "queue": command.queue,
            "tenant": TENANT,
            "cron": line.cron,
            "time_zone": line.time_zone,
            "args": command.model_validate(line.args).model_dump_json(),
            "missed": line.missed,
            "catch_up": line.catch_up,
        }
        for command in commands
        for schedule_id, line in schedules_of(command).items()
    }


def changes(
    wanted: Mapping[str, Mapping[str, Any]],
    rows: Sequence[Row],
    queue: str,
    queues: AbstractSet[str],
    made: Mapping[str, AbstractSet[int]],
    now_us: int,
) -> list[Change]:
    """What to write so that the rows of `queue` are those of the code. `made` are decided ticks that are yet to come.

    `queues` are all that the code knows: rows of others have nobody else who would end them.
    """
    found = {row["id"]: row for row in rows}
    todo = []
    for schedule_id, definition in wanted.items():
        if definition["queue"] != queue:
            continue
        row = found.get(schedule_id)
        following = _next(row, definition, made.get(schedule_id, frozenset()), now_us)
        if row is None or following != row["next_at"] or row["source"] != CODE or _differs(row, definition):
            todo.append(Change(row, {**definition, "source": CODE}, following))
    for row in rows:
        is_ours = row["queue"] == queue or row["queue"] not in queues
        if is_ours and row["source"] == CODE and row["id"] not in wanted:
            todo.append(Change(row, {"source": GONE}, None))
    return todo


def _next(row: Row | None, definition: Mapping[str, Any], made: AbstractSet[int], now_us: int) -> int | None:
    if row is not None and row["paused"]:
        return None
    if row is not None and row["source"] == CODE and not _differs(row, definition, ("cron", "time_zone")):
        overdue: int | None = row["next_at"]
        if overdue is not None and overdue <= now_us:
            return overdue
    return first_undecided(definition, made, now_us)


def first_undecided(definition: Mapping[str, Any], made: AbstractSet[int], now_us: int) -> int:
    walk = ticks(definition["cron"], definition["time_zone"], now_us)
    return next(tick for tick in walk if tick not in made)


def _differs(row: Row, definition: Mapping[str, Any], names: Sequence[str] | None = None) -> bool:
    return any(row[name] != definition[name] for name in names or definition)
