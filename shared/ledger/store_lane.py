"""Lanes and pauses in the ledger: limits that people set, the token buckets, the heads of ordered lanes.

A lane is a name within a queue and a tenant. Its row is there once somebody has set limits (`own`), paused it, or it
has spent a token; without limits of its own, its jobs' command decides.
"""

from collections.abc import Sequence
from dataclasses import replace

from shared.contracts.lane import RATE_LEAST, LanePolicy
from shared.db.sql import Connection, Row, Statement
from shared.ledger.holds import LaneFacts
from shared.ledger.store_line import IN_LINE

LaneId = tuple[str, str]  # (tenant, name)

_NAMED = {"tenant": "text", "name": "text"}
LANES = Statement(
    "lanes",
    """
    SELECT l.tenant, l.name, l.own, l.concurrency, l.rate_per_s, l.burst, l.ordered, l.paused_at, l.tat,
           l.held_until, l.held_why, l.ceiling
      FROM {rows} AS i JOIN lane AS l ON l.queue = :queue AND l.tenant = i.tenant AND l.name = i.name
    """,
    rows=_NAMED,
)
SPEND = Statement(
    "lane_spend",
    """
    INSERT INTO lane (queue, tenant, name, own, burst, ordered, tat, updated_at)
    SELECT queue, tenant, name, FALSE, 1, FALSE, tat, updated_at FROM {rows} AS i WHERE true
    ON CONFLICT (queue, tenant, name) DO UPDATE SET tat = excluded.tat
    """,
    rows={"queue": "text", **_NAMED, "tat": "bigint", "updated_at": "bigint"},
)
# What a service holds a lane to; never what people have set, and never its bucket.
BOUND = Statement(
    "lane_bound",
    """
    INSERT INTO lane (queue, tenant, name, own, burst, ordered, tat, held_until, held_why, ceiling, updated_at)
    SELECT queue, tenant, name, FALSE, 1, FALSE, 0, held_until, held_why, ceiling, updated_at FROM {rows} AS i
     WHERE true
    ON CONFLICT (queue, tenant, name) DO UPDATE
       SET held_until = excluded.held_until, held_why = excluded.held_why, ceiling = excluded.ceiling
    """,
    rows={
        "queue": "text", **_NAMED, "held_until": "bigint", "held_why": "text", "ceiling": "integer",
        "updated_at": "bigint",
    },
)  # fmt: skip
HEADS = Statement(
    "lane_heads",
    f"""
    SELECT {IN_LINE}, state, due FROM job WHERE id IN (
        SELECT (SELECT o.id FROM job AS o
                 WHERE o.queue = :queue AND o.tenant = i.tenant AND o.lane = i.name AND o.lane IS NOT NULL
                   AND o.state IN ('ready', 'dispatched', 'running') ORDER BY o.id LIMIT 1)
          FROM {{rows}} AS i)
    """,
    rows=_NAMED,
)
PAUSED = Statement("queue_paused", "SELECT paused_at FROM queue_pause WHERE queue = :queue")


async def lanes(connection: Connection, queue: str, names: Sequence[LaneId]) -> Sequence[Row]:
    """The rows of those that have one."""
    return await connection.fetch(LANES, {"queue": queue}, names) if names else []


def own_policy(row: Row) -> LanePolicy | None:
    """The limits that people have set in a lane's row; None when its jobs' command decides."""
    if not row["own"]:
        return None
    rate = None if row["rate_per_s"] is None else max(RATE_LEAST, row["rate_per_s"])  # whoever wrote it
    return LanePolicy(concurrency=row["concurrency"], rate_per_s=rate, burst=row["burst"], ordered=bool(row["ordered"]))


async def spend(connection: Connection, queue: str, spent: Sequence[tuple[LaneId, int]], now_us: int) -> None:
    """Write token buckets, in the order given, which is the order of locks."""
    if spent:
        await connection.fetch(SPEND, None, [(queue, *lane, tat, now_us) for lane, tat in spent])


def lane_facts(name: str, row: Row | None, default: LanePolicy, under_way: int) -> LaneFacts:
    """`default` is the policy of its jobs' command."""
    if row is None:
        return LaneFacts(name, default, under_way=under_way)
    return LaneFacts(
        name, own_policy(row) or default, row["paused_at"], row["tat"], under_way, held_until=row["held_until"],
        held_why=row["held_why"], ceiling=row["ceiling"],
    )  # fmt: skip


def group_facts(name: str, row: Row | None, default: LanePolicy, under_way: int) -> LaneFacts:
    """As of the lane that others stand in: order is theirs."""
    facts = lane_facts(name, row, default, under_way)
    return replace(facts, policy=facts.policy.model_copy(update={"ordered": False}))


def default_in(group: Row | None, default: LanePolicy) -> LanePolicy:
    """Of a lane without limits of its own: whoever orders a group orders each that stands in it."""
    own = own_policy(group) if group is not None else None
    return default.model_copy(update={"ordered": True}) if own is not None and own.ordered else default


async def bound(
    connection: Connection, queue: str, bounds: Sequence[tuple[LaneId, int, str | None, int | None]], now_us: int
) -> None:
    """Of each lane (id, held_until, held_why, ceiling), in the order given, which is the order of locks.

    The relay heeds them when it reads the lanes again: whoever writes them nudges it with CONFIG after the commit.
    """
    if bounds:
        await connection.fetch(BOUND, None, [(queue, *lane, *rest, now_us) for lane, *rest in bounds])


async def heads(connection: Connection, queue: str, names: Sequence[LaneId]) -> Sequence[Row]:
    """The oldest job that has not ended, of each lane that has one."""
    return await connection.fetch(HEADS, {"queue": queue}, names) if names else []


async def is_paused(connection: Connection, queue: str) -> bool:
    return bool(await connection.fetch(PAUSED, {"queue": queue}))
