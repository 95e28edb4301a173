"""Withdrawal: what was published and nobody has claimed yet goes back into line when its queue or lane is paused,
or its lane is held.

The ledger comes first: from its commit on, a worker that has read such an entry cannot claim the job. Then the entries
are dropped; one that stays behind, because Redis did not answer, is a stray that reconcile deletes.
"""

from collections.abc import Sequence

from redis.asyncio import Redis

from shared.db.sql import Connection, Row
from shared.ledger import store_dispatch as store
from shared.transport.reconcile import WINDOW_BOUND, drop_entries, window_entries


async def withdraw(
    connection: Connection, redis: "Redis", queue: str, now_us: int, *, everything: bool
) -> Sequence[Row]:
    """The jobs that are back in line: of lanes that are paused or held, or with `everything` of the whole queue."""
    if everything:
        ids = [row["id"] for row in await store.dispatched(connection, queue, WINDOW_BOUND)]
    else:
        ids = await store.dispatched_in_standing_lanes(connection, queue, now_us, WINDOW_BOUND)
    returned = await store.undispatch(connection, ids, now_us)
    if returned:
        back = {row["id"] for row in returned}
        entries = await window_entries(redis, queue)
        await drop_entries(redis, queue, [entry for entry, job_id in entries.items() if job_id in back])
    return returned
