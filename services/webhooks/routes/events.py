"""Events: accepted for every endpoint that wants them, and shown again."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, ValidationError
from starlette.responses import Response

from services.webhooks import store_events as store
from services.webhooks.deps import EventId, Held, MayRead, MayWrite, get_desk
from services.webhooks.documents import event_document
from services.webhooks.events import new_event
from services.webhooks.patterns import is_event_type
from services.webhooks.publishing import plan
from shared.kernel.clock import rfc3339
from shared.kernel.errors import NotFound
from shared.kernel.ids import new_id
from shared.runtime.bodies import Body, Line
from shared.runtime.express import express
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import too_deep, utf8
from shared.runtime.resources import get_resources

router = APIRouter(prefix="/webhooks/events", tags=["webhook events"])


def _event_type(text: str) -> str:
    if not is_event_type(text):
        raise ValueError("must be segments of letters, digits, _ and - parted by dots, 128 characters at most")
    return text


class GivenEvent(Body):
    type: Annotated[str, AfterValidator(_event_type)]
    data: dict[str, Any]
    ordering_key: Line | None = None


_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": GivenEvent.model_json_schema()}}}}


@router.post("", status_code=202, openapi_extra=_BODY)
@express
async def publish(request: Request, caller: MayWrite, once: Idempotent) -> Response:
    """Durable when this answers. The id is the `webhook-id` that receivers see."""
    given = read_event(await request.body())
    desk = get_desk(request)
    now_us = get_resources(request).database.clock.now_us()
    event = new_event(
        new_id("evt"),
        given.type,
        given.data,
        tenant=caller.tenant,
        timestamp=str(rfc3339(now_us)),
        now_us=now_us,
        ordering_key=given.ordering_key,
    )
    planned = plan(event, await desk.subscribed(caller.tenant, given.type))
    answer = {"id": event.id, "deliveries": len(planned.jobs)}
    return await once.accept(planned, 202, answer, {"Location": f"/v1/webhooks/events/{event.id}"})


@router.get("/{event_id}")
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
