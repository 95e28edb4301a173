"""Events: accepted for every endpoint that takes them, one or many at a time, and shown again."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.responses import Response

from services.webhooks import store_events as store
from services.webhooks.accepting import BatchEvent, GivenEvent, plan_event, together
from services.webhooks.batches import BATCH_MAX, answer_of, claim, plan_batch
from services.webhooks.delivery_examples import EVENT
from services.webhooks.deps import EventId, Held, MayRead, MayWrite, TheDesk, get_desk
from services.webhooks.documents import event_document
from shared.kernel.errors import BadInput, HoldfastError, NotFound
from shared.runtime.examples import example
from shared.runtime.express import express
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import read_json, too_deep, utf8
from shared.runtime.resources import get_resources
from shared.transport.enqueue import enqueue_all

router = APIRouter(prefix="/webhooks/events", tags=["webhook events"])
_ID = "evt_01m81s9dese3ksgafskmq7x1bp"
_EXAMPLE = {"type": "order.paid", "data": {"id": "o_1", "amount": 4200}, "channels": ["shop-7"], "ordering_key": "o_1"}
_ACCEPTED = {"id": _ID, "deliveries": 2}
_REFUSED = {
    "status": 422,
    "error": {
        "type": "urn:holdfast:problem:schema_violated", "title": "Unprocessable Content", "status": 422,
        "detail": 'the data does not match the schema of order.paid: at /data, "amount" is a required property',
        "code": "schema_violated", "rule": "required", "schema_pointer": "/required",
        "errors": [
            {"in": "body", "pointer": "/events/1/data", "message": '"amount" is a required property', "found": "{}"}
        ],
    },
}  # fmt: skip
_RESULTS = {"items": [{"status": 202, **_ACCEPTED}, _REFUSED], "accepted": 1, "refused": 1}


def _takes(schema: dict[str, Any], shown: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": shown}}
    return {"requestBody": {"required": True, "content": content}}


_BATCH = {
    "type": "object", "required": ["events"], "additionalProperties": False,
    "properties": {
        "events": {"type": "array", "minItems": 1, "maxItems": BATCH_MAX, "items": BatchEvent.model_json_schema()}
    },
}  # fmt: skip


@router.post(
    "", status_code=202, summary="Publish an event",
    openapi_extra=_takes(GivenEvent.model_json_schema(), _EXAMPLE), responses=example(_ACCEPTED, 202),
)  # fmt: skip
@express
async def publish(request: Request, caller: MayWrite, once: Idempotent) -> Response:
    """Durable when this answers. The id is the `webhook-id` that receivers see.

    `deliveries` counts the endpoints that take the event. Past 100 of them there is a `fan_out`: its job makes them.
    """
    given = read_event(await request.body())
    now_us = get_resources(request).database.clock.now_us()
    try:
        planned = await plan_event(get_desk(request), given, caller.tenant, now_us)
    except HoldfastError:
        await once.replay()  # its type may have been archived since it was accepted
        raise
    location = {"Location": f"/v1/webhooks/events/{planned.event_id}"}
    return await once.accept(planned.accepted, 202, planned.answer, location)


@router.post(
    "/batch", status_code=202, summary="Publish up to 1,000 events",
    openapi_extra=_takes(_BATCH, {"events": [{**_EXAMPLE, "idempotency_key": "o_1 paid"}, {**_EXAMPLE, "data": {}}]}),
    responses=example(_RESULTS, 202),
)  # fmt: skip
async def publish_many(request: Request, caller: MayWrite, once: Idempotent, desk: TheDesk, held: Held) -> Response:
    """Each event has its own result at its place: 202 as for a single one, or the problem that it was refused with.

    The good ones are accepted whatever the others are, in one transaction. An `idempotency_key` accepts its event once
    a day, also from another batch; the `Idempotency-Key` of the request replays the whole answer.
    """
    events = read_batch(await request.body())
    items = await plan_batch(desk, events, caller.tenant, held.database.clock.now_us())
    if not any(item.key for item in items):
        planned = [item.planned for item in items if item.planned is not None]
        return await once.accept(together(planned), 202, answer_of(items))
    async with once.tx() as tx:
        items = await claim(tx, caller.tenant, items)
        accepted = together([item.planned for item in items if item.planned is not None])
        for statement, rows in accepted.inserts:
            await tx.fetch(statement, None, rows)
        await enqueue_all(tx, accepted.jobs)
        return once.answer(202, answer_of(items))


@router.get("/{event_id}", summary="One event, and where its deliveries are", responses=example(EVENT))
async def show(event_id: EventId, caller: MayRead, resources: Held) -> dict[str, Any]:
    row = await store.find_event(resources.database, event_id, caller.tenant)
    if row is None:
        raise NotFound(f"there is no event {event_id}")
    return event_document(row)


def read_event(body: bytes) -> GivenEvent:
    """Straight from the bytes: FastAPI's own way takes NaN for JSON, and three times as long."""
    try:
        return GivenEvent.model_validate_json(body)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":
            _check_text(body, errors[0]["msg"])
        raise RequestValidationError([{**error, "loc": ("body", *error["loc"])} for error in errors]) from None


def _check_text(body: bytes, reason: str) -> None:
    """Raises what the other routes raise: this parser has words of its own for it."""
    utf8(body)
    if "recursion limit" in reason:
        raise too_deep()


def read_batch(body: bytes) -> list[Any]:
    """Its events as they came. Raises BadInput for what is no batch."""
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as wrong:
        raise _refusal_of(body, str(wrong)) from None
    events = given.get("events") if isinstance(given, dict) else None
    if not isinstance(events, list) or set(given) != {"events"}:
        raise BadInput('a batch is {"events": [...]} and nothing else', pointer="/events")
    if not 1 <= len(events) <= BATCH_MAX:
        raise BadInput(f"a batch has 1 to {BATCH_MAX} events", pointer="/events", found=len(events))
    return events


def _refusal_of(body: bytes, reason: str) -> BadInput:
    """What the fast parser did not take: the other one says why in the words of the other routes, if it knows."""
    try:
        read_json(body)
    except BadInput as refused:
        return refused
    except ValueError as wrong:
        return BadInput(f"the body is not JSON: {wrong}", pointer="")
    return too_deep() if "recursion limit" in reason else BadInput(f"the body is not JSON: {reason}", pointer="")
