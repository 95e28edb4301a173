"""Deliveries: one event on its way to one endpoint, with everything that came of it. The id is the job's."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from services.webhooks import store_deliveries as store
from services.webhooks.delivery_examples import AGAIN, DELIVERY, LINE
from services.webhooks.deps import DeliveryId, DeliveryPage, Held, MayRead, MayWrite
from services.webhooks.documents import delivery_document, delivery_line
from services.webhooks.onboarding import read_probe
from services.webhooks.resending import send_again
from services.webhooks.store_deliveries import Shown, Wanted
from shared.kernel.errors import BadInput, Conflict, NotFound
from shared.ledger.store_dead import retry_jobs
from shared.runtime.bodies import Name
from shared.runtime.examples import example, page_of
from shared.runtime.idempotency import Idempotent
from shared.runtime.instants import instant_in_query
from shared.runtime.pages import encode

router = APIRouter(prefix="/webhooks/deliveries", tags=["webhook deliveries"])
_STATUS = re.compile(r"[1-5](xx|[0-9]{2})")
Instant = Annotated[str | None, Query(max_length=40, description="RFC 3339, of the acceptance")]


@router.get("", summary="List deliveries", responses=page_of(LINE))
async def show_all(
    *,
    caller: MayRead,
    resources: Held,
    page: DeliveryPage,
    endpoint_id: Annotated[Name | None, Query()] = None,
    event_id: Annotated[Name | None, Query()] = None,
    state: Annotated[Shown | None, Query()] = None,
    since: Instant = None,
    until: Instant = None,
    status: Annotated[
        str | None, Query(max_length=3, description="of the newest answer: `503`, or `5xx` for all of a kind")
    ] = None,
) -> dict[str, Any]:
    """Newest first. A page may hold fewer than `limit` while `next_cursor` is there: each costs a bounded look."""
    wanted = Wanted(endpoint_id, event_id, state, _instant(since, "since"), _instant(until, "until"), _status(status))
    rows, last = await store.list_deliveries(
        resources.database, caller.tenant, wanted, before=page.after, limit=page.limit
    )
    now_us = resources.database.clock.now_us()
    return {"items": [delivery_line(row, now_us) for row in rows], "next_cursor": encode(last) if last else None}


@router.get("/{delivery_id}", summary="Show a delivery", responses=example(DELIVERY))
async def show(delivery_id: DeliveryId, caller: MayRead, resources: Held) -> dict[str, Any]:
    """With every attempt: what was answered, after how long, and the first of what the answer held."""
    found = await store.read_delivery(resources.database, delivery_id, caller.tenant)
    if found is None:
        tested = await read_probe(resources.database, delivery_id, None, caller.tenant)  # an answer to `test` names it
        if tested is None:
            raise _unknown(delivery_id)
        return tested
    return delivery_document(*found, resources.database.clock.now_us())


@router.post("/{delivery_id}/retry", status_code=202, summary="Send a delivery again", responses=example(AGAIN, 202))
async def retry(delivery_id: DeliveryId, caller: MayWrite, once: Idempotent) -> Response:
    """A dead or cancelled one starts over, with its whole schedule, and keeps the attempts that it has had.

    One that has completed is sent once more by a delivery of its own, with the same `webhook-id` and body.
    """
    async with once.tx() as tx:
        found = await store.delivery_state(tx, delivery_id, caller.tenant, tx.now_us)
        if found is None:
            raise _unknown(delivery_id)
        state, event_id, endpoint_id = found
        again = delivery_id
        queues = await retry_jobs(tx, caller.tenant, [delivery_id], tx.now_us, states=("dead", "cancelled"))
        tx.touched.update(queues.values())
        if not queues and state == "completed":
            again = await send_again(tx, caller.tenant, event_id, endpoint_id)
        elif not queues:
            words = f"{delivery_id} is {state}: only a delivery that has ended can be sent again"
            raise Conflict(words, state=state)
        location = {"Location": f"/v1/webhooks/deliveries/{again}"}
        return once.answer(202, {"id": again, "state": "queued", "replay_of": delivery_id}, location)


def _instant(text: str | None, name: str) -> int | None:
    return None if text is None else instant_in_query(name, text)


def _status(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if not _STATUS.fullmatch(text):
        raise BadInput("a status is three digits, or a digit and xx", place="query", pointer="/status", found=text)
    return int(text.replace("xx", "00")), int(text.replace("xx", "99"))


def _unknown(delivery_id: str) -> NotFound:
    return NotFound(f"there is no delivery {delivery_id}")
