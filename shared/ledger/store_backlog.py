"""The backlog of a queue: how much is due and runnable, and for how long. What an autoscaler reads, so it is bounded.

Counted are jobs that are running or dispatched, and ready ones that are due and that nothing holds back: not those of
a paused queue, and of each lane no more than it has room for. Lanes are an approximation: of a lane whose jobs have
several priorities, each priority may count the whole room. At most FLOWS_MOST flows (a priority, tenant and lane) are
looked at, and about COUNT_MOST jobs counted: beyond that the number is a lower bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.contracts.commands import ALL
from shared.contracts.lane import FREE
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


async def _in_line(connection: Connection, queue: str, now_us: int) -> list[tuple[int, int]]:
    """(runnable, oldest) of each flow."""
    flows = await store_line.flows(connection, queue, "", FLOWS_MOST)
    if not flows:
        return []
    most = max(1, COUNT_MOST // len(flows))
    rows = await connection.fetch(WAITING, {"queue": queue, "most": most}, [(flow,) for flow in flows])
    lanes = await _lanes(connection, queue, rows)
    found = []
    for row in rows:
        lane = lanes.get(_lane_of(row["flow"]))
        room = lane.room(now_us) if lane is not None else None
        found.append((row["count"] if room is None else min(row["count"], room), row["oldest"]))
    return found


async def _lanes(connection: Connection, queue: str, flows: Sequence[Row]) -> Mapping[LaneId, LaneFacts]:
    """Of those flows that are in a lane: its limits, and how many are under way in it."""
    tasks = {_lane_of(row["flow"]): row["task"] for row in flows if _lane_of(row["flow"])[1]}
    if not tasks:
        return {}
    rows = {(row["tenant"], row["name"]): row for row in await store_lane.lanes(connection, queue, list(tasks))}
    under_way: dict[LaneId, int] = {}
    for row in await store_line.under_way(connection, queue):
        key = (row["tenant"], row["lane"])
        under_way[key] = under_way.get(key, 0) + 1
    return {key: _facts(key, rows.get(key), task, under_way.get(key, 0)) for key, task in tasks.items()}


def _facts(lane: LaneId, row: Row | None, task: str | None, under_way: int) -> LaneFacts:
    command = ALL.get(task or "")
    policy = (store_lane.own_policy(row) if row else None) or (command.lanes if command else FREE)
    paused_at, tat = (row["paused_at"], row["tat"]) if row else (None, 0)
    return LaneFacts(lane[1], policy, paused_at=paused_at, tat=tat, under_way=under_way)


def _lane_of(flow: str) -> LaneId:
    _, tenant, lane = flow.split("/", 2)
    return tenant, lane
