"""The facts that say why a job has not started, read from the ledger alone, each by a bounded statement."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared.contracts.commands import ALL
from shared.contracts.lane import FREE, group_of
from shared.db.engine import Database
from shared.db.reading import looking
from shared.db.sql import Connection, Statement
from shared.ledger import store_lane
from shared.ledger.holds import AHEAD_MOST, JobFacts, LaneFacts
from shared.ledger.store_lane import default_in, group_facts, lane_facts
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
_UNDER_WAY = """
    SELECT count(*) AS count FROM (
        SELECT id FROM job WHERE queue = :queue AND state = 'dispatched' AND tenant = :tenant AND {which}
        UNION ALL
        SELECT j.id FROM incarnation AS n JOIN job AS j ON j.incarnation = n.id AND j.state = 'running'
         WHERE n.queue = :queue AND j.tenant = :tenant AND j.{which}) AS open
"""
LANE_UNDER_WAY = Statement("lane_under_way", _UNDER_WAY.replace("{which}", "lane = :lane"))
GROUP_UNDER_WAY = Statement("group_under_way", _UNDER_WAY.replace("{which}", "lane BETWEEN :begin AND :end"))


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
    command = ALL.get(row["task"])
    default = command.lanes if command else FREE
    group = group_of(name) if default.grouped else None
    names = [(tenant, each) for each in (name, group) if each is not None]
    rows = {found["name"]: found for found in await store_lane.lanes(connection, queue, names)}
    open_ = await connection.fetch(LANE_UNDER_WAY, {"queue": queue, "tenant": tenant, "lane": name})
    own = default if group is None else default_in(rows.get(group), default)
    facts = lane_facts(name, rows.get(name), own, open_[0]["count"])
    if facts.policy.ordered:
        heads = await store_lane.heads(connection, queue, [(tenant, name)])
        facts = replace(facts, head=heads[0]["id"] if heads else None)
    if group is None:
        return facts
    values = {"queue": queue, "tenant": tenant, "begin": f"{group}:", "end": f"{group};"}  # the next letter
    open_ = await connection.fetch(GROUP_UNDER_WAY, values)
    return replace(facts, group=group_facts(group, rows.get(group), default, open_[0]["count"]))


async def _ahead(connection: Connection, row: Mapping[str, Any]) -> int:
    flow = f"{row['priority']}/{row['tenant']}/{row['lane'] or ''}"
    values = {"queue": row["queue"], "flow": flow, "run_at": row["run_at"], "id": row["id"]}
    return int((await connection.fetch(AHEAD, values))[0]["count"])
