"""The backlog of a queue: how much is due and runnable, and for how long. What an autoscaler reads, so it is bounded.

Counted are jobs that are running or dispatched, and ready ones that are due and that nothing holds back: not those of
a paused queue, and of each lane no more than it has room for. Lanes are an approximation: of a lane whose jobs have
several priorities, each priority may count the whole room. At most FLOWS_MOST flows (a priority, tenant and lane) are
looked at, and about COUNT_MOST jobs counted: beyond that the number is a lower bound.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.contracts.commands import ALL
from shared.contracts.lane import FREE, LanePolicy, group_of
from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.sql import Connection, Row, Statement
from shared.ledger import store_lane, store_line
from shared.ledger.holds import LaneFacts
from shared.ledger.store_lane import LaneId
from shared.ledger.store_line import FLOW_KEY
from shared.ledger.store_pause import queue_pauses

FLOWS_MOST = 2_000
COUNT_MOST = 100_000
_DUE = f"queue = :queue AND state = 'ready' AND due AND {FLOW_KEY} = i.flow"

WAITING = Statement(
    "waiting_by_flow",
    f"""
    SELECT i.flow, (SELECT count(*) FROM (SELECT 1 AS one FROM job WHERE {_DUE} LIMIT :most) AS due) AS count,
           (SELECT run_at FROM job WHERE {_DUE} ORDER BY run_at, id LIMIT 1) AS oldest,
           (SELECT task FROM job WHERE {_DUE} ORDER BY run_at, id LIMIT 1) AS task
      FROM {{rows}} AS i
    """,
    rows={"flow": "text"},
)
IN_LINE = Statement(
    "count_in_line",
    """
    SELECT count(*) AS count FROM (
        SELECT 1 AS one FROM job WHERE queue = :queue AND state = 'ready' AND due LIMIT :most) AS waiting
    """,
)
# On its way into line: the relay moves what has come to be due within moments.
COMING = Statement(
    "coming_into_line",
    f"""
    SELECT count(*) AS count, min(run_at) AS oldest FROM (
        SELECT run_at FROM job WHERE queue = :queue AND state = 'ready' AND NOT due AND waits_for = 0 AND run_at <= :now
         ORDER BY run_at, id LIMIT {COUNT_MOST}) AS coming
    """,
)
OPEN = Statement(
    "open_by_state",
    """
    SELECT 'dispatched' AS state, count(*) AS count, min(run_at) AS oldest FROM job
     WHERE queue = :queue AND state = 'dispatched'
    UNION ALL
    SELECT 'running', count(*), min(j.run_at)
      FROM incarnation AS n JOIN job AS j ON j.incarnation = n.id AND j.state = 'running' WHERE n.queue = :queue
    """,
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """`oldest` = the earliest `run_at` (µs) of what counts; `paused_at` (µs) while the queue is paused."""

    backlog: int
    oldest: int | None
    paused_at: int | None


async def read_backlog(database: Database, queue: str, now_us: int) -> Backlog:
    async with looking(database) as connection:
        paused_at = (await queue_pauses(connection)).get(queue)
        parts = [
            (row["count"], row["oldest"])
            for row in await connection.fetch(OPEN, {"queue": queue})
            if paused_at is None or row["state"] == "running"
        ]
        if paused_at is None:
            coming = await connection.fetch(COMING, {"queue": queue, "now": now_us})
            parts += [(row["count"], row["oldest"]) for row in coming]
            parts += await _in_line(connection, queue, now_us)
    oldest = min((at for count, at in parts if count and at is not None), default=None)
    return Backlog(sum(count for count, _ in parts), oldest, paused_at)


async def count_in_line(database: Database, queue: str, most: int) -> int:
    """How many jobs of a queue wait in line; no more than `most` are counted."""
    async with looking(database) as connection:
        rows = await connection.fetch(IN_LINE, {"queue": queue, "most": most})
    return int(rows[0]["count"])


async def count_in_flows(database: Database, queue: str, flows: Sequence[str], most: int) -> int:
    """The same of some flows, named `priority/tenant/lane`; of each, no more than `most` are counted."""
    async with looking(database) as connection:
        rows = await connection.fetch(WAITING, {"queue": queue, "most": most}, [(flow,) for flow in flows])
    return sum(int(row["count"]) for row in rows)


async def read_waiting(database: Database, queue: str) -> dict[tuple[int, str], int]:
    """(priority, lane) → jobs that wait in line, over all tenants; bounded as the backlog is, and so a lower bound."""
    found: Counter[tuple[int, str]] = Counter()
    async with looking(database) as connection:
        flows = await store_line.flows(connection, queue, "", FLOWS_MOST)
        if flows:
            most = max(1, COUNT_MOST // len(flows))
            for row in await connection.fetch(WAITING, {"queue": queue, "most": most}, [(flow,) for flow in flows]):
                priority, _, lane = row["flow"].split("/", 2)
                found[int(priority), lane] += row["count"]
    return dict(found)


async def _in_line(connection: Connection, queue: str, now_us: int) -> list[tuple[int, int]]:
    """(runnable, oldest) of each flow."""
    flows = await store_line.flows(connection, queue, "", FLOWS_MOST)
    if not flows:
        return []
    most = max(1, COUNT_MOST // len(flows))
    rows = await connection.fetch(WAITING, {"queue": queue, "most": most}, [(flow,) for flow in flows])
    lanes = await _lanes(connection, queue, rows)
    found = []
    left: dict[LaneId, int] = {}  # of the groups, for the lanes in them that have not been counted
    for row in rows:
        tenant, name = _lane_of(row["flow"])
        lane = lanes.get((tenant, name))
        room = lane.room(now_us) if lane is not None else None
        count = row["count"] if room is None else min(row["count"], room)
        if lane is not None and lane.group is not None and (room := lane.group.room(now_us)) is not None:
            group = (tenant, lane.group.name)
            count = min(count, left.setdefault(group, room))
            left[group] -= count
        found.append((count, row["oldest"]))
    return found


async def _lanes(connection: Connection, queue: str, flows: Sequence[Row]) -> Mapping[LaneId, LaneFacts]:
    """Of those flows that are in a lane: its limits, and how many are under way in it."""
    tasks = {_lane_of(row["flow"]): row["task"] for row in flows if _lane_of(row["flow"])[1]}
    if not tasks:
        return {}
    groups = {lane: (lane[0], group) for lane, task in tasks.items() if (group := _group(lane[1], task)) is not None}
    names = sorted({*tasks, *groups.values()})
    rows = {(row["tenant"], row["name"]): row for row in await store_lane.lanes(connection, queue, names)}
    under_way: Counter[LaneId] = Counter()
    for row in await store_line.under_way(connection, queue):
        lane = (row["tenant"], row["lane"])
        under_way[lane] += 1
        if (group := _group(row["lane"], row["task"])) is not None:
            under_way[(row["tenant"], f"{group}:")] += 1  # apart from what is in the lane of that name itself
    found = {}
    for lane, task in tasks.items():
        group_row = rows.get(groups[lane]) if lane in groups else None
        own = store_lane.default_in(group_row, _policy(task))
        facts = store_lane.lane_facts(lane[1], rows.get(lane), own, under_way[lane])
        if (group_id := groups.get(lane)) is not None:
            count = under_way[(group_id[0], f"{group_id[1]}:")]
            facts = replace(facts, group=store_lane.group_facts(group_id[1], rows.get(group_id), _policy(task), count))
        found[lane] = facts
    return found


def _policy(task: str | None) -> LanePolicy:
    command = ALL.get(task or "")
    return command.lanes if command else FREE


def _group(lane: str, task: str | None) -> str | None:
    return group_of(lane) if _policy(task).grouped else None


def _lane_of(flow: str) -> LaneId:
    _, tenant, lane = flow.split("/", 2)
    return tenant, lane
