"""Asking: why an event was or was not delivered, what an endpoint was to be given, how long payloads are kept."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from fastapi import Body as JsonBody
from pydantic import Field
from starlette.responses import Response

from services.webhooks import store_keeping
from services.webhooks.asking import events_after, explanation
from services.webhooks.delivery_examples import EXPLAINED, KEEP, KEPT, POLLED
from services.webhooks.deps import EndpointId, Held, MayRead, MayWrite, TheDesk
from services.webhooks.desk import Desk
from shared.db.reading import looking
from shared.db.sql import Row
from shared.kernel.clock import rfc3339
from shared.kernel.errors import BadInput
from shared.runtime.bodies import Body
from shared.runtime.examples import example
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/webhooks", tags=["webhook questions"], route_class=JsonRoute)
POLL_ROWS = 50
POLL_MOST = 200
POLL_BYTES = 16 * 1024 * 1024
EventOf = Annotated[str, Query(alias="event", min_length=1, max_length=100, description="the event's id")]
_WHY = "`outcome`, `reason` and `message` say why; `checks` and `deliveries` what that rests on"


class Keeping(Body):
    """Seconds; null for as long as events are kept."""

    payload_keep_s: Annotated[int, Field(ge=60)] | None


@router.get(
    "/endpoints/{endpoint_id}/explain", summary="Why was it (not) delivered?", responses=example(EXPLAINED, 200, _WHY)
)
async def explain_of(
    endpoint_id: EndpointId, event: EventOf, caller: MayRead, resources: Held, desk: TheDesk
) -> dict[str, Any]:
    """Why this endpoint was, or was not, given an event: as it stood then, and as it stands now."""
    return await explanation(resources.database, caller.tenant, event, endpoint_id, desk.settings.keep_events_s)


@router.get("/explain", summary="Why was it (not) delivered?", responses=example(EXPLAINED, 200, _WHY))
async def explain(
    event: EventOf,
    endpoint: Annotated[str, Query(min_length=1, max_length=100, description="the endpoint's id")],
    caller: MayRead,
    resources: Held,
    desk: TheDesk,
) -> dict[str, Any]:
    """The same, of an event and an endpoint."""
    return await explanation(resources.database, caller.tenant, event, endpoint, desk.settings.keep_events_s)


@router.get(
    "/endpoints/{endpoint_id}/events",
    summary="Poll for missed events",
    response_class=Response,
    responses=example(POLLED),
)
async def poll(
    *,
    endpoint_id: EndpointId,
    caller: MayRead,
    resources: Held,
    after: Annotated[
        str | None,
        Query(max_length=100, description="the id of an event, a sequence number, or `after` of the page before"),
    ] = None,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=POLL_MOST)] = POLL_ROWS,
) -> Response:
    """What the endpoint was to be given, oldest first, whatever became of the deliveries: `payload` is the signed body.

    Give `after` of one page to the next, at once while there is a `next_cursor`. An endpoint with `sequence` is read in
    the order of its numbers, in which nothing ever comes late; deliveries of before the switch, which have none, are
    passed over then: `after` with the id of an event or of a delivery goes by the order of deliveries, and has them.
    A page ends early when its payloads pass 16 MB.
    """
    page = await events_after(resources.database, caller.tenant, endpoint_id, cursor or after, limit, POLL_BYTES)
    return Response(orjson.dumps(page), media_type="application/json")


@router.get("/retention", summary="How long payloads are kept", responses=example(KEPT))
async def show_keeping(caller: MayRead, resources: Held, desk: TheDesk) -> dict[str, Any]:
    async with looking(resources.database) as connection:
        return _kept(await store_keeping.read_keeping(connection, caller.tenant), desk)


@router.put("/retention", summary="Say how long payloads are kept", responses=example(KEPT))
async def set_keeping(
    body: Annotated[Keeping, JsonBody(openapi_examples=KEEP)], caller: MayWrite, resources: Held, desk: TheDesk
) -> dict[str, Any]:
    """After that time the payloads of events are erased; a delivery that still waits for one then ends as failed."""
    most = desk.settings.keep_events_s
    if body.payload_keep_s is not None and body.payload_keep_s > most:
        raise BadInput(
            f"events themselves are kept for {most:g} s", pointer="/payload_keep_s", found=str(body.payload_keep_s)
        )
    async with resources.tx() as tx:
        await store_keeping.set_keeping(tx, caller.tenant, body.payload_keep_s)
        row = await store_keeping.read_keeping(tx, caller.tenant)
    return _kept(row, desk)


def _kept(row: Row | None, desk: Desk) -> dict[str, Any]:
    return {
        "payload_keep_s": row["payload_keep_s"] if row else None,
        "events_keep_s": desk.settings.keep_events_s,
        "updated_at": rfc3339(row["updated_at"]) if row else None,
    }
