"""One delivery that has completed, sent once more: a new job with a link of its own, of the same event and endpoint."""

from services.webhooks import store_replay as store
from services.webhooks.replay import Candidate, new_delivery
from shared.db.tx import Tx
from shared.kernel.errors import Conflict
from shared.transport.enqueue import enqueue_all


async def send_again(tx: Tx, tenant: str, event_id: str, endpoint_id: str) -> str:
    """The new delivery's id. Raises Conflict when there is nothing to send any more, or nowhere to."""
    endpoint = await store.endpoint_row(tx, endpoint_id, tenant)
    event = await store.event_head(tx, event_id, tenant)
    if endpoint is None:
        raise Conflict("its endpoint has been deleted", code="endpoint_deleted")
    if not endpoint["enabled"]:
        raise Conflict("its endpoint is disabled: enable it first", code="endpoint_disabled")
    if event is None:
        raise Conflict("its event is not kept any more", code="event_gone")
    if event["erased_at"] is not None:
        raise Conflict("the payload of its event was erased", code="payload_erased")
    given = (event["type"], event["ordering_key"])
    job = new_delivery(Candidate(event_id, event_id, endpoint, "delivered", *given), tenant, tx.now_us)
    await store.link_again(tx, job.id, [(event_id, endpoint_id, job.id)])
    await enqueue_all(tx, [job])
    return job.id
