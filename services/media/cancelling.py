"""Cancelling what makes renditions: what waits ends with the transaction, the slot of what runs is killed."""

from shared.db.tx import Tx
from shared.ledger.store_dead import Cancelled, cancel_job
from shared.runtime.resources import Resources


async def cancel_processing(tx: Tx, resources: Resources, tenant: str, job_id: str) -> Cancelled | None:
    """None when it had ended. Its worker hears of it, and its lane's relay, once `tx` has committed."""
    job = await cancel_job(tx, tenant, job_id, tx.now_us)
    if job is None:
        return None
    if job.state == "running":
        tx.after_commit(lambda: resources.waker.cancel(job.queue, job_id))
    else:
        tx.after_commit(lambda: resources.waker.changed(job.queue))  # its lane may have waited for it
    return job
