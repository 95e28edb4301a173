"""What becomes of a deleted endpoint's deliveries: those that wait or run are cancelled at once.

As many as a request has time for in its own transaction, the others by a job, in batches along the index of lanes.
Both do the same again harmlessly, so a job that is cut off starts over: what is cancelled already is not met again.
A running delivery is asked to end, and counts if it is faster. Deliveries that had ended stay as they are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from services.webhooks.delivery import DELETED
from services.webhooks.store_deliveries import waiting_in_lanes
from services.webhooks.store_past import bury
from shared.contracts.commands.webhooks import ForgetEndpoint
from shared.db.failures import is_deadlock
from shared.db.tx import Tx
from shared.ledger.store_dead import cancel_jobs
from shared.runtime.resources import Resources
from shared.transport.attempt import Attempt, Retry
from shared.transport.enqueue import enqueue
from shared.transport.wake import Waker

AT_ONCE: Final = 200
BATCH: Final = 200
PAUSE_S: Final = 0.02  # between two batches: others want the database as well
Cursor = tuple[str, str]
START: Final[Cursor] = ("", "")
TRIES: Final = 4
T = TypeVar("T")


async def past_deadlocks(transaction: Callable[[], Awaitable[T]]) -> T:
    """`transaction` is the whole of one; it is run again when it was rolled back as a deadlock.

    Ends of attempts are written in groups that lock their jobs in no order, so whoever cancels many may meet one.
    """
    for _ in range(TRIES - 1):
        try:
            return await transaction()
        except Exception as error:
            if not is_deadlock(error):
                raise
    return await transaction()


async def remove(tx: Tx, waker: Waker, endpoint_id: str, tenant: str) -> None:
    """In the transaction that deletes the endpoint."""
    await bury(tx, endpoint_id, tenant)
    _, after = await cancel_waiting(tx, waker, endpoint_id, tenant, START, AT_ONCE)
    if after is not None:
        await enqueue(tx, ForgetEndpoint(endpoint_id=endpoint_id), tenant=tenant)


async def cancel_waiting(
    tx: Tx, waker: Waker, endpoint_id: str, tenant: str, after: Cursor, limit: int
) -> tuple[int, Cursor | None]:
    """How many, and where to go on; None when these were the last."""
    found = await waiting_in_lanes(tx, endpoint_id, tenant, after, limit)
    ids = [job_id for _, job_id in found]
    cancelled = await cancel_jobs(tx, tenant, ids, tx.now_us, words=DELETED)
    queues = {one.queue for one in cancelled.values()}
    running = [(one.queue, job_id) for job_id, one in cancelled.items() if one.state == "running"]

    def tell() -> None:
        for queue in queues:
            waker.changed(queue)
        for queue, job_id in running:
            waker.cancel(queue, job_id)

    tx.after_commit(tell)
    return len(cancelled), found[-1] if len(found) == limit else None


async def forget(attempt: Attempt, resources: Resources, endpoint_id: str) -> dict[str, int]:
    """The job's part; how many it has cancelled."""
    cancelled = 0
    after: Cursor | None = START
    while after is not None:
        if attempt.is_stopping:
            raise Retry(0.0, "its process is to end: the rest follows")

        async def batch(begin: Cursor = after) -> tuple[int, Cursor | None]:
            async with resources.tx() as tx:
                return await cancel_waiting(tx, resources.waker, endpoint_id, attempt.tenant, begin, BATCH)

        count, after = await past_deadlocks(batch)
        cancelled += count
        await asyncio.sleep(PAUSE_S)
    return {"cancelled": cancelled}
