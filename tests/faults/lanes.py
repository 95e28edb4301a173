"""Lanes under the load of the fault tests: what goes into which, and whether their limits and their order held.

A tenth of the sleeping jobs goes through a lane of three at a time, of the others every ninth through one that keeps
its order. An attempt that was cut off counts until somebody found that out: then, and not before, the next may begin.
"""

from collections.abc import Sequence
from typing import Any, Final

from shared.contracts.command import Command
from shared.contracts.lane import LanePolicy
from shared.db.engine import Database
from shared.ledger import store_limits
from shared.testing.lab import QUEUE, Noop, Sleep

NARROW, ORDERED = "narrow", "ordered"
POLICIES: Final = {NARROW: LanePolicy(concurrency=3), ORDERED: LanePolicy(ordered=True)}
ATTEMPTS = """
    SELECT j.lane, j.id, a.fence, a.started_at, a.finished_at FROM job AS j JOIN job_attempt AS a ON a.job_id = j.id
     WHERE j.lane IS NOT NULL AND a.started_at IS NOT NULL ORDER BY a.started_at, j.id
"""


async def open_lanes(database: Database, tenant: str) -> None:
    for name, policy in POLICIES.items():
        values = {"queue": QUEUE, "tenant": tenant, "name": name, "now": database.clock.now_us()}
        await database.fetch(store_limits.PUT, values | policy.model_dump())


def lane_of(number: int, command: Command) -> str | None:
    """Of the command that is accepted as the `number`th."""
    if isinstance(command, Sleep) and number % 10 == 0:
        return NARROW
    return ORDERED if isinstance(command, Noop) and number % 9 == 0 else None


def overfull(attempts: Sequence[Any]) -> list[str]:
    """What broke a limit or an order, in words: of attempts in the order of their starts."""
    found = []
    for name, policy in POLICIES.items():
        under_way: list[Any] = []
        last = ""
        for one in (attempt for attempt in attempts if attempt.lane == name):
            under_way = [other for other in under_way if other.finished_at > one.started_at] + [one]
            if policy.limit is not None and len(under_way) > policy.limit:
                found.append(f"{name}: {len(under_way)} at once when {one.id} began at {one.started_at}")
            if policy.ordered and one.id < last:
                found.append(f"{name}: {one.id} began after {last}")
            last = one.id
    return found
