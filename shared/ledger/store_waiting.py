"""The facts that say why a job has not started, read from the ledger alone, each by a bounded statement."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared.contracts.commands import ALL
from shared.contracts.lane import FREE
from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.sql import Connection, Statement
from shared.ledger import store_lane
from shared.ledger.holds import AHEAD_MOST, JobFacts, LaneFacts
from shared.ledger.store_line import FLOW_KEY
from shared.ledger.store_pause import queue_pauses

CAPACITY = Statement(
    "queue_capacity",
    "SELECT coalesce(sum(capacity), 0) AS capacity FROM incarnation WHERE queue = :queue AND tombstone IS NULL",
)
AHEAD = Statement(
    "ahead_in_flow",
    f"""
    SELECT count(*) AS count FROM (
        SELECT id FROM job
         WHERE queue = :queue AND state = 'ready' AND due AND {FLOW_KEY} = :flow
           AND (run_at, id) < (CAST(:run_at AS bigint), CAST(:id AS text))
         ORDER BY run_at, id LIMIT {AHEAD_MOST + 1}) AS ahead
    """,
)
LANE_UNDER_WAY = Statement(
    "lane_under_way",
    """
    SELECT count(*) AS count FROM (
        SELECT id FROM job WHERE queue = :queue AND state = 'dispatched' AND tenant = :tenant AND lane = :lane
        UNION ALL
        SELECT j.id FROM incarnation AS n JOIN job AS j ON j.incarnation = n.id AND j.state = 'running'
         WHERE n.queue = :queue AND j.tenant = :tenant AND j.lane = :lane) AS open
    """,
)


async def read_facts(database: Database, row: Mapping[str, Any], now_us: int) -> JobFacts:
    """`row` is the job's; of one that has its reason in itself, nothing more is read."""
    facts = JobFacts(
        id=row["id"], state=row["state"], run_at=row["run_at"], now_us=now_us, children=row["waits_for"],
        crashes=row["crashes"],
    )  # fmt: skip
    is_early = facts.state == "ready" and (facts.run_at > now_us or facts.children)
    if facts.state not in ("ready", "dispatched") or is_early:
        return facts
    async with looking(database) as connection:
        return replace(
            facts,
            queue_paused_at=(await queue_pauses(connection)).get(row["queue"]),
            lane=await _lane(connection, row) if row["lane"] is not None else None,
            capacity=(await connection.fetch(CAPACITY, {"queue": row["queue"]}))[0]["capacity"],
            ahead=await _ahead(connection, row) if row["state"] == "ready" else 0,
        )


async def _lane(connection: Connection, row: Mapping[str, Any]) -> LaneFacts:
    queue, tenant, name = row["queue"], row["tenant"], row["lane"]
    rows = await store_lane.lanes(connection, queue, [(tenant, name)])
    command = ALL.get(row["task"])
    policy = (store_lane.own_policy(rows[0]) if rows else None) or (command.lanes if command else FREE)
    open_ = await connection.fetch(LANE_UNDER_WAY, {"queue": queue, "tenant": tenant, "lane": name})
    heads = await store_lane.heads(connection, queue, [(tenant, name)]) if policy.ordered else ()
    return LaneFacts(
        name, policy, under_way=open_[0]["count"], head=heads[0]["id"] if heads else None,
        paused_at=rows[0]["paused_at"] if rows else None, tat=rows[0]["tat"] if rows else 0,
    )  # fmt: skip


async def _ahead(connection: Connection, row: Mapping[str, Any]) -> int:
    flow = f"{row['priority']}/{row['tenant']}/{row['lane'] or ''}"
    values = {"queue": row["queue"], "flow": flow, "run_at": row["run_at"], "id": row["id"]}
    return int((await connection.fetch(AHEAD, values))[0]["count"])
