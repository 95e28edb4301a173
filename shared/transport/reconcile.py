"""Reconcile: compare the whole window in Redis with the ledger, and put right whatever one of them forgot.

One comparison covers a wiped Redis, a failover to a lagging replica, a restored snapshot, a relay that died between
its commit and its publish, and a reader that died between its read and its claim. It is safe to run at any time and
by anybody: every change is guarded by the state that was seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.db.sql import Connection, Row
from shared.kernel.clock import SECOND_US, Clock
from shared.ledger import store_dispatch as store
from shared.ledger.store_incarnation import living
from shared.transport.names import GROUP, job_of, stream

SETTLE_US = 2 * SECOND_US  # a dispatch this young may still be on its relay's way into the stream
WINDOW_BOUND = 20_000
CLAIM_WITHIN_MS = 5_000  # a reader claims at once; after this it never heard of the entry, or keeps it to run alone


@dataclass(frozen=True, slots=True)
class Reconciled:
    returned: Sequence[Row] = ()  # dispatched jobs that are back in line
    strays: int = 0
    consumers: int = 0

    @property
    def redispatched(self) -> int:
        return len(self.returned)


async def reconcile_window(
    connection: Connection, redis: "Redis", queue: str, clock: Clock, *, settle_us: int = SETTLE_US
) -> Reconciled:
    """One pass over one queue. Reads the stream before the ledger: what is dispatched in between is left alone.

    The queue's own relay publishes between passes, never during one, and passes `settle_us` = 0.
    """
    await ensure_group(redis, queue)
    entries = await window_entries(redis, queue)
    delivered = await _last_delivered(redis, queue)
    held = await _held(redis, queue)
    alive = {row["id"] for row in await living(connection)}  # last: whoever reads has been born before
    now_us = clock.now_us()
    rows = await store.dispatched(connection, queue, WINDOW_BOUND)
    dispatched_at = {row["id"]: row["dispatched_at"] for row in rows}

    orphaned = {entry for entry, (consumer, ms) in held.items() if consumer not in alive or ms > CLAIM_WITHIN_MS}
    # Delivered, and held by nobody: its reader's consumer was deleted while the read was being served.
    orphaned |= {entry for entry in entries if entry not in held and _order(entry) <= delivered}
    present = {job_id for entry, job_id in entries.items() if entry not in orphaned}
    complete = len(rows) < WINDOW_BOUND and len(entries) < WINDOW_BOUND
    abandoned = {entries[entry] for entry in orphaned if entry in entries} - present
    missing = dispatched_at.keys() - present - abandoned if complete else set()
    returned = list(await store.undispatch(connection, sorted(abandoned & dispatched_at.keys()), now_us))
    returned += await store.undispatch(connection, sorted(missing), now_us - settle_us)
    gone = [
        entry for entry, job_id in entries.items() if entry in orphaned or (complete and job_id not in dispatched_at)
    ]
    await drop_entries(redis, queue, gone)
    consumers = await _forget_consumers(redis, queue, alive)
    return Reconciled(returned, len(gone), consumers)


async def ensure_group(redis: "Redis", queue: str) -> None:
    """The group reads from the very beginning: an entry that was there before it is delivered too."""
    try:
        await redis.xgroup_create(stream(queue), GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


async def drop_entries(redis: "Redis", queue: str, entries: list[str]) -> None:
    """Acknowledge and delete: the stream holds only what nobody has claimed."""
    for start in range(0, len(entries), 500):
        part = entries[start : start + 500]
        pipeline = redis.pipeline(transaction=False)
        pipeline.xack(stream(queue), GROUP, *part)
        pipeline.xdel(stream(queue), *part)
        await pipeline.execute(raise_on_error=False)


async def window_entries(redis: "Redis", queue: str) -> Mapping[str, str]:
    """Entry id → job id, of the whole window; an entry that is not ours has the empty job id and is a stray."""
    found: Any = await redis.xrange(stream(queue), count=WINDOW_BOUND)
    return {entry.decode(): job_of(fields)[0] for entry, fields in found}


async def _last_delivered(redis: "Redis", queue: str) -> tuple[int, int]:
    """No entry up to here will be delivered again. Read before what is held: later deliveries are beyond it."""
    groups: Any = await redis.xinfo_groups(stream(queue))
    last = [item["last-delivered-id"] for item in groups if item["name"] == GROUP.encode()]
    return _order(last[0].decode()) if last else (0, 0)


def _order(entry: str) -> tuple[int, int]:
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence or 0)


async def _held(redis: "Redis", queue: str) -> Mapping[str, tuple[str, int]]:
    """Entry id → consumer and milliseconds since its read, of what was read and not yet acknowledged."""
    pending: Any = await redis.xpending_range(stream(queue), GROUP, min="-", max="+", count=WINDOW_BOUND)
    return {item["message_id"].decode(): (item["consumer"].decode(), item["time_since_delivered"]) for item in pending}


async def _forget_consumers(redis: "Redis", queue: str, alive: set[str]) -> int:
    consumers: Any = await redis.xinfo_consumers(stream(queue), GROUP)
    dead = [item["name"].decode() for item in consumers if item["name"].decode() not in alive]
    for name in dead:
        await redis.xgroup_delconsumer(stream(queue), GROUP, name)
    return len(dead)
