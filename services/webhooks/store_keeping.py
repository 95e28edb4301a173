"""Every statement on how long payloads are kept, and on their end.

The walk goes by ids, which another service may have made long before its event was accepted. So what is younger than
its id says holds the position back, and what comes in behind the position sets it back, under the lock of its row.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from shared.db.sql import Connection, Row, Statement
from shared.db.tx import Tx
from shared.kernel.ids import id_floor

KEEP_LEAST_US: Final = 60_000_000  # what tenants may ask for: no position is nearer to now
_READ = Statement("read_keeping", "SELECT payload_keep_s, updated_at FROM webhooks_keeping WHERE tenant = :tenant")
# A longer time brings nothing back, a shorter one goes on from where the last run was.
_SET = Statement(
    "set_keeping",
    """
    INSERT INTO webhooks_keeping (tenant, payload_keep_s, erased_to, updated_at)
    VALUES (:tenant, :keep_s, '', :now)
    ON CONFLICT (tenant) DO UPDATE SET payload_keep_s = excluded.payload_keep_s, updated_at = excluded.updated_at
    """,
)
_UNSET = Statement("unset_keeping", "DELETE FROM webhooks_keeping WHERE tenant = :tenant")
_TENANTS = Statement(
    "keeping_tenants", "SELECT * FROM webhooks_keeping WHERE tenant > :after ORDER BY tenant LIMIT :limit"
)
_LOOK = Statement(
    "look_payloads",
    """
    SELECT id, created_at FROM webhooks_events WHERE tenant = :tenant AND id > :after AND id < :floor
     ORDER BY tenant, id LIMIT :limit
    """,
)
_ERASE = Statement(
    "erase_payloads",
    "UPDATE webhooks_events SET body = '', erased_at = :now WHERE id {any:ids} AND erased_at IS NULL RETURNING id",
)
_HOLD = Statement(
    "hold_keeping", "UPDATE webhooks_keeping SET erased_to = erased_to WHERE tenant = :tenant RETURNING erased_to"
)
_REWIND = Statement(
    "rewind_keeping", "UPDATE webhooks_keeping SET erased_to = :to WHERE tenant = :tenant AND erased_to >= :to"
)
_MOVE = Statement("move_keeping", "UPDATE webhooks_keeping SET erased_to = :to WHERE tenant = :tenant")


async def read_keeping(connection: Connection, tenant: str) -> Row | None:
    rows = await connection.fetch(_READ, {"tenant": tenant})
    return rows[0] if rows else None


async def set_keeping(tx: Tx, tenant: str, keep_s: int | None) -> None:
    if keep_s is None:
        await tx.fetch(_UNSET, {"tenant": tenant})
    else:
        await tx.fetch(_SET, {"tenant": tenant, "keep_s": keep_s, "now": tx.now_us})


async def came_late(tx: Tx, tenant: str, event_id: str) -> None:
    """An event was accepted whose id may be behind the position; `event_id` without its end is just before it."""
    if event_id < id_floor("evt", tx.now_us - KEEP_LEAST_US // 2):
        await tx.fetch(_REWIND, {"tenant": tenant, "to": event_id[:-1]})


async def tenants(connection: Connection, after: str, limit: int) -> Sequence[Row]:
    return await connection.fetch(_TENANTS, {"after": after, "limit": limit})


async def erase_next(tx: Tx, tenant: str, after: str, before_us: int, limit: int) -> tuple[int, str, bool]:
    """How many, where to go on, and whether there may be more. Ids know milliseconds, and a floor is below its own.

    Where the next run begins is moved only from `after`: before what is too young, and before what came in behind.
    """
    held = await tx.fetch(_HOLD, {"tenant": tenant})
    values = {"tenant": tenant, "after": after, "floor": id_floor("evt", before_us), "limit": limit}
    found = await tx.fetch(_LOOK, values)
    if not found or not held:
        return 0, after, False
    due = [row["id"] for row in found if row["created_at"] < before_us]
    gone = await tx.fetch(_ERASE, {"ids": due, "now": tx.now_us}) if due else ()
    reached = [after, *takewhile(set(due).__contains__, (row["id"] for row in found))][-1]
    if held[0]["erased_to"] == after:
        await tx.fetch(_MOVE, {"tenant": tenant, "to": reached})
    return len(gone), found[-1]["id"], len(found) == limit
