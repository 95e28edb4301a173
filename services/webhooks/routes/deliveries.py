"""Deliveries: one event on its way to one endpoint, with everything that came of it. The id is the job's."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from services.webhooks import store_deliveries as store
from services.webhooks.deps import DeliveryId, DeliveryPage, Held, MayRead, MayWrite
from services.webhooks.documents import delivery_document, delivery_line
from shared.kernel.errors import Conflict, NotFound
from shared.ledger.store_dead import retry_jobs
from shared.runtime.bodies import Name
from shared.runtime.idempotency import Idempotent

router = APIRouter(prefix="/webhooks/deliveries", tags=["webhook deliveries"])


@router.get("")
async def show_all(
    *,
    caller: MayRead,
    resources: Held,
    page: DeliveryPage,
    endpoint_id: Annotated[Name | None, Query()] = None,
    event_id: Annotated[Name | None, Query()] = None,
    state: Annotated[store.Shown | None, Query()] = None,
) -> dict[str, Any]:
    """Newest first."""
    rows = await store.list_deliveries(
        resources.database, caller.tenant, endpoint_id=endpoint_id, event_id=event_id, state=state,
        before=page.after, limit=page.rows,
    )  # fmt: skip
    now_us = resources.database.clock.now_us()
    return page.of(rows, lambda row: delivery_line(row, now_us), lambda row: str(row["id"]))


@router.get("/{delivery_id}")
async def show(delivery_id: DeliveryId, caller: MayRead, resources: Held) -> dict[str, Any]:
    found = await store.read_delivery(resources.database, delivery_id, caller.tenant)
    if found is None:
        raise _unknown(delivery_id)
    return delivery_document(*found, resources.database.clock.now_us())


@router.post("/{delivery_id}/retry", status_code=202)
async def retry(delivery_id: DeliveryId, caller: MayWrite, once: Idempotent) -> Response:
    """A dead or cancelled delivery starts over, with its whole schedule, and keeps the attempts it has had."""
    async with once.tx() as tx:
        state = await store.delivery_state(tx, delivery_id, caller.tenant, tx.now_us)
        if state is None:
            raise _unknown(delivery_id)
        queues = await retry_jobs(tx, caller.tenant, [delivery_id], tx.now_us, states=("dead", "cancelled"))
        if not queues:
            words = f"{delivery_id} is {state}: only a dead or cancelled delivery can be retried"
            raise Conflict(words, state=state)
        tx.touched.update(queues.values())
        location = {"Location": f"/v1/webhooks/deliveries/{delivery_id}"}
        return once.answer(202, {"id": delivery_id, "state": "queued"}, location)


def _unknown(delivery_id: str) -> NotFound:
    return NotFound(f"there is no delivery {delivery_id}")
