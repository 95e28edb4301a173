"""Lanes as their tenant sees them: from the ledger's rows to documents. Who asks is the caller's business."""

from collections.abc import Sequence
from typing import Any

from services.api.queues import known_queues
from shared.contracts.commands import ALL
from shared.contracts.lane import FREE
from shared.db.sql import Connection, Row
from shared.kernel.clock import rfc3339
from shared.kernel.errors import Conflict
from shared.ledger import store_lane
from shared.ledger import store_limits as store


async def find_lanes(
    connection: Connection, tenant: str, queue: str | None, after: str, most: int
) -> list[tuple[str, dict[str, Any]]]:
    """(key, lane) by queue and name, beyond the key `after`, which is `queue/name` or empty."""
    found: list[tuple[str, dict[str, Any]]] = []
    from_queue, _, from_name = after.partition("/")
    for one in await known_queues(connection):
        if one < from_queue or queue not in (None, one) or len(found) >= most:
            continue
        after_name = from_name if one == from_queue else ""
        names = await store.lane_names(connection, one, tenant, after_name, most - len(found))
        lanes = await _documents(connection, tenant, one, names)
        found += [(f"{one}/{lane['name']}", lane) for lane in lanes]
    return found


async def find_lane(connection: Connection, tenant: str, queue: str, name: str) -> dict[str, Any] | None:
    """None when nobody has said anything about it and it has no jobs that have not ended."""
    (lane,) = await _documents(connection, tenant, queue, [name])
    is_told = lane["own"] or lane["paused"]
    return lane if is_told or lane["waiting"] or lane["under_way"] else None


async def make_room(connection: Connection, tenant: str, queue: str, name: str) -> None:
    """Raises Conflict when the tenant has as many lanes with limits or pauses as it may, and this is none of them."""
    if await store.told_lanes(connection, queue, tenant) < store.ROWS_MOST:
        return
    (row,) = await store_lane.lanes(connection, queue, [(tenant, name)]) or (None,)
    if row is None or not (row["own"] or row["paused_at"] is not None):
        words = f"a tenant has at most {store.ROWS_MOST} lanes of a queue with limits or pauses"
        raise Conflict(words, code="too_many_lanes", limit=store.ROWS_MOST)


async def _documents(connection: Connection, tenant: str, queue: str, names: Sequence[str]) -> list[dict[str, Any]]:
    if not names:
        return []
    rows = {row["name"]: row for row in await store_lane.lanes(connection, queue, [(tenant, name) for name in names])}
    waiting = await store.waiting_in(connection, queue, tenant, names)
    under_way = await store.under_way_in(connection, queue, tenant)
    return [
        _document(queue, name, rows.get(name), waiting[name]["waiting"], under_way.get(name, 0), waiting[name]["task"])
        for name in names
    ]


def _document(queue: str, name: str, row: Row | None, waiting: int, under_way: int, task: str | None) -> dict[str, Any]:
    own = store_lane.own_policy(row) if row else None
    command = ALL.get(task or "")
    policy = own or (command.lanes if command else FREE)
    paused_at = row["paused_at"] if row else None
    return {
        "queue": queue,
        "name": name,
        "own": own is not None,
        **policy.model_dump(),
        "paused": paused_at is not None,
        "paused_at": rfc3339(paused_at),
        "waiting": min(waiting, store.COUNT_MOST),
        "waiting_is_more": waiting > store.COUNT_MOST,
        "under_way": under_way,
    }
