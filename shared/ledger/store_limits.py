"""What people decide about lanes, and see of them: limits of their own, pauses, who waits and who is under way.

A lane is there for people while it has a row that says something, or jobs that have not ended. Every statement is of
one tenant and bounded; names sort as their bytes do on both databases.
"""

from collections.abc import Mapping, Sequence

from shared.contracts.lane import LanePolicy
from shared.db.sql import Connection, Row, Statement

ROWS_MOST = 10_000  # rows of one tenant and queue that people may make
COUNT_MOST = 1_000  # waiting jobs of one lane that are counted
_ONE = "queue = :queue AND tenant = :tenant AND name = :name"
_TOLD = "(own OR paused_at IS NOT NULL)"
_OPEN = "o.lane IS NOT NULL AND o.state IN ('ready', 'dispatched', 'running')"

# `own` and the limits of what is there change together; its bucket stays the relay's.
PUT = Statement(
    "put_lane",
    """
    INSERT INTO lane (queue, tenant, name, own, concurrency, rate_per_s, burst, ordered, tat, updated_at)
    VALUES (:queue, :tenant, :name, TRUE, :concurrency, :rate_per_s, :burst, :ordered, 0, :now)
    ON CONFLICT (queue, tenant, name) DO UPDATE
       SET own = TRUE, concurrency = excluded.concurrency, rate_per_s = excluded.rate_per_s, burst = excluded.burst,
           ordered = excluded.ordered, updated_at = excluded.updated_at
    """,
)
CLEAR = Statement(
    "clear_lane",
    f"""
    UPDATE lane SET own = FALSE, concurrency = NULL, rate_per_s = NULL, burst = 1, ordered = FALSE, updated_at = :now
     WHERE {_ONE} AND own RETURNING name
    """,
)
PAUSE = Statement(
    "pause_lane",
    """
    INSERT INTO lane (queue, tenant, name, own, burst, ordered, paused_at, tat, updated_at)
    VALUES (:queue, :tenant, :name, FALSE, 1, FALSE, :now, 0, :now)
    ON CONFLICT (queue, tenant, name) DO UPDATE SET paused_at = coalesce(lane.paused_at, excluded.paused_at)
    """,
)
RESUME = Statement("resume_lane", f"UPDATE lane SET paused_at = NULL WHERE {_ONE} AND paused_at IS NOT NULL")
TOLD = Statement(
    "told_lanes",
    f"""SELECT count(*) AS count FROM (
        SELECT 1 AS one FROM lane WHERE queue = :queue AND tenant = :tenant AND {_TOLD} LIMIT {ROWS_MOST}) AS told""",
)
NAMED = Statement(
    "named_lanes",
    f"""SELECT name FROM lane WHERE queue = :queue AND tenant = :tenant AND name > :after AND {_TOLD}
         ORDER BY name LIMIT :most""",
)
_NEXT = f"""SELECT o.lane FROM job AS o
             WHERE o.queue = :queue AND o.tenant = :tenant AND {_OPEN} AND o.lane > %s ORDER BY o.lane LIMIT 1"""
BUSY = Statement(
    "busy_lanes",
    f"""
    WITH RECURSIVE hop (name, n) AS (
        SELECT ({_NEXT % ":after"}), 1
        UNION ALL
        SELECT ({_NEXT % "hop.name"}), n + 1 FROM hop WHERE hop.name IS NOT NULL AND n < CAST(:most AS bigint))
    SELECT name FROM hop WHERE name IS NOT NULL
    """,
)
# Ready ones among the first COUNT_MOST that have not ended: a lane with a million of them costs no more.
WAITING = Statement(
    "waiting_in_lanes",
    f"""
    SELECT i.name, (SELECT count(*) FROM (
               SELECT o.state FROM job AS o
                WHERE o.queue = :queue AND o.tenant = :tenant AND o.lane = i.name AND {_OPEN}
                ORDER BY o.queue, o.tenant, o.lane, o.id LIMIT {COUNT_MOST + 1}) AS open WHERE open.state = 'ready')
           AS waiting,
           (SELECT o.task FROM job AS o
             WHERE o.queue = :queue AND o.tenant = :tenant AND o.lane = i.name AND {_OPEN}
             ORDER BY o.queue, o.tenant, o.lane, o.id LIMIT 1) AS task
      FROM {{rows}} AS i
    """,
    rows={"name": "text"},
)
UNDER_WAY = Statement(
    "under_way_by_lane",
    """
    SELECT lane, count(*) AS count FROM (
        SELECT lane FROM job WHERE queue = :queue AND state = 'dispatched' AND lane IS NOT NULL AND tenant = :tenant
        UNION ALL
        SELECT j.lane FROM incarnation AS n JOIN job AS j ON j.incarnation = n.id AND j.state = 'running'
         WHERE n.queue = :queue AND j.lane IS NOT NULL AND j.tenant = :tenant) AS open
     GROUP BY lane
    """,
)


def _one(queue: str, tenant: str, name: str) -> dict[str, str]:
    return {"queue": queue, "tenant": tenant, "name": name}


async def put_limits(
    connection: Connection, queue: str, tenant: str, name: str, policy: LanePolicy, now_us: int
) -> None:
    await connection.fetch(PUT, {**_one(queue, tenant, name), **policy.model_dump(), "now": now_us})


async def clear_limits(connection: Connection, queue: str, tenant: str, name: str, now_us: int) -> bool:
    """Its jobs' command decides again. False when it had no limits of its own."""
    return bool(await connection.fetch(CLEAR, {**_one(queue, tenant, name), "now": now_us}))


async def pause_lane(connection: Connection, queue: str, tenant: str, name: str, now_us: int) -> None:
    """One that is paused already stays so from then."""
    await connection.fetch(PAUSE, {**_one(queue, tenant, name), "now": now_us})


async def resume_lane(connection: Connection, queue: str, tenant: str, name: str) -> None:
    await connection.fetch(RESUME, _one(queue, tenant, name))


async def told_lanes(connection: Connection, queue: str, tenant: str) -> int:
    """How many of the tenant's lanes have limits of their own or are paused; at most ROWS_MOST."""
    return int((await connection.fetch(TOLD, {"queue": queue, "tenant": tenant}))[0]["count"])


async def lane_names(connection: Connection, queue: str, tenant: str, after: str, most: int) -> list[str]:
    """Lanes that people have said something about, or that have jobs which have not ended; by name, beyond `after`."""
    values = {"queue": queue, "tenant": tenant, "after": after, "most": most}
    names = {row["name"] for statement in (NAMED, BUSY) for row in await connection.fetch(statement, values)}
    return sorted(names)[:most]


async def waiting_in(connection: Connection, queue: str, tenant: str, names: Sequence[str]) -> Mapping[str, Row]:
    """Lane → `waiting` (ready jobs, of the oldest COUNT_MOST + 1 that have not ended) and the `task` of the oldest."""
    if not names:
        return {}
    rows = await connection.fetch(WAITING, {"queue": queue, "tenant": tenant}, [(name,) for name in names])
    return {row["name"]: row for row in rows}


async def under_way_in(connection: Connection, queue: str, tenant: str) -> Mapping[str, int]:
    """Lane → jobs that are dispatched or running; as many as there are slots and places in the window, at most."""
    rows = await connection.fetch(UNDER_WAY, {"queue": queue, "tenant": tenant})
    return {row["lane"]: row["count"] for row in rows}
