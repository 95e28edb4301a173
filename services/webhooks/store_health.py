"""Every statement on the health of endpoints: read for update, written back when it changed, gone with its endpoint.

What the relay is to heed goes to the endpoint's lane in the same transaction. Locks: the endpoint's row, then its
health, then its lane; whoever holds a row of health and would disable its endpoint passes over one that is locked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from typing import Any, Final

from services.webhooks.breaker import FRESH, HOLD, State
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.db.sql import Connection, Row, Statement
from shared.ledger.store_lane import bound

_KINDS = {"last_failure": "text", "troubled": "boolean", "succeeded": "integer", "failed": "integer",
          "trips": "integer", "failures": "integer", "ceiling": "integer"}  # fmt: skip
COLUMNS: Final = [each.name for each in fields(State)]
_NAMES = ", ".join(COLUMNS)
_READ = f"SELECT endpoint_id, {_NAMES} FROM webhooks_health WHERE endpoint_id {{any:ids}} ORDER BY endpoint_id"

READ = Statement("read_health", _READ)
LOCK = Statement("lock_health", _READ, postgres=f"{_READ} FOR UPDATE")
_NEW = """
    INSERT INTO webhooks_health (endpoint_id, tenant, window_at, succeeded, failed, trips, held_until, failures,
                                 troubled, ceiling_at, reset_at, updated_at)
    SELECT e.id, e.tenant, 0, 0, 0, 0, 0, 0, FALSE, 0, 0, CAST(:now AS bigint) FROM webhooks_endpoints AS e
     WHERE e.id {any:ids} %s
    ON CONFLICT (endpoint_id) DO NOTHING
"""
# Nothing is made for an endpoint that is being deleted.
MAKE = Statement("make_health", _NEW % "", postgres=_NEW % "ORDER BY e.id FOR KEY SHARE OF e")
WRITE = Statement(
    "write_health",
    f"""
    UPDATE webhooks_health SET {", ".join(f"{name} = i.{name}" for name in COLUMNS)}, updated_at = :now
      FROM {{rows}} AS i WHERE webhooks_health.endpoint_id = i.endpoint_id
    """,
    rows={"endpoint_id": "text", **{name: _KINDS.get(name, "bigint") for name in COLUMNS}},
)
FORGET = Statement("forget_health", "DELETE FROM webhooks_health WHERE endpoint_id = :id")
# Not one that somebody is changing: the next failure will decide.
_DISABLE = """
    UPDATE webhooks_endpoints
       SET enabled = FALSE, disabled_reason = :reason, version = version + 1, updated_at = :now
     WHERE id IN (SELECT id FROM webhooks_endpoints WHERE id = :id AND enabled%s)
    RETURNING url
"""
DISABLE = Statement("disable_failing", _DISABLE % "", postgres=_DISABLE % " FOR UPDATE SKIP LOCKED")


def state_of(row: Row) -> State:
    """Of a row that has its columns, perhaps beside others; NULLs are of an endpoint that has never failed."""
    if row["window_at"] is None:
        return FRESH
    return State(**{name: row[name] for name in COLUMNS} | {"troubled": bool(row["troubled"])})


async def read_health(connection: Connection, ids: Sequence[str]) -> dict[str, State]:
    """Of those that have ever failed."""
    return {row["endpoint_id"]: state_of(row) for row in await connection.fetch(READ, {"ids": list(ids)})}


async def lock_health(connection: Connection, ids: Sequence[str], new: Sequence[str], now_us: int) -> dict[str, State]:
    """Of those that are there, as they are until this transaction ends; `new` ones have rows from now on."""
    if new:
        await connection.fetch(MAKE, {"ids": sorted(new), "now": now_us})
    return {row["endpoint_id"]: state_of(row) for row in await connection.fetch(LOCK, {"ids": sorted(ids)})}


async def write_health(
    connection: Connection, states: Mapping[tuple[str, str], State], before: Mapping[str, State], now_us: int
) -> bool:
    """By (tenant, endpoint); true when the relay has to hear of it."""
    rows = [(endpoint_id, *astuple(state)) for (_, endpoint_id), state in sorted(states.items())]
    await connection.fetch(WRITE, {"now": now_us}, rows)
    bounds = [
        (lane, state.held_until, HOLD if state.held_until else None, state.at_once)
        for lane, state in sorted(states.items())
        if (state.held_until, state.at_once) != (before[lane[1]].held_until, before[lane[1]].at_once)
    ]
    await bound(connection, DeliverWebhook.queue, bounds, now_us)
    return bool(bounds)


async def forget_health(connection: Connection, endpoint_id: str, tenant: str, now_us: int) -> None:
    """With its endpoint."""
    if await connection.fetch(READ, {"ids": [endpoint_id]}):
        await connection.fetch(FORGET, {"id": endpoint_id})
        await bound(connection, DeliverWebhook.queue, [((tenant, endpoint_id), 0, None, None)], now_us)


async def disable_failing(connection: Connection, endpoint_id: str, reason: str, now_us: int) -> str | None:
    """Its URL, when this is what disabled it."""
    values: dict[str, Any] = {"id": endpoint_id, "reason": reason, "now": now_us}
    rows = await connection.fetch(DISABLE, values)
    return rows[0]["url"] if rows else None
