"""What routes and handlers are given: short names for the dependencies they share."""

from typing import Annotated

from fastapi import Depends, Request
from taskiq import TaskiqDepends

from services.webhooks.desk import Desk
from shared.kernel.errors import NotFound
from shared.kernel.ids import is_id
from shared.runtime.callers import Caller, require
from shared.runtime.resources import Resources, get_resources
from shared.transport.attempt import Attempt, get_attempt


def get_desk(request: Request = TaskiqDepends()) -> Desk:
    desk: Desk = request.app.state.webhooks
    return desk


async def held(request: Request) -> Resources:
    return get_resources(request)


async def desk_of(request: Request) -> Desk:
    return get_desk(request)


async def endpoint_in_path(endpoint_id: str) -> str:
    """What cannot be an id is nobody's: 404, and no trip to the database."""
    if not is_id(endpoint_id, "ep"):
        raise NotFound(f"there is no endpoint {endpoint_id[:100]}")
    return endpoint_id


async def event_in_path(event_id: str) -> str:
    if not is_id(event_id, "evt"):
        raise NotFound(f"there is no event {event_id[:100]}")
    return event_id


async def delivery_in_path(delivery_id: str) -> str:
    if not is_id(delivery_id, "job"):
        raise NotFound(f"there is no delivery {delivery_id[:100]}")
    return delivery_id


# Routes
EndpointId = Annotated[str, Depends(endpoint_in_path)]
EventId = Annotated[str, Depends(event_in_path)]
DeliveryId = Annotated[str, Depends(delivery_in_path)]
Held = Annotated[Resources, Depends(held)]
TheDesk = Annotated[Desk, Depends(desk_of)]
MayRead = Annotated[Caller, Depends(require("webhooks:read"))]
MayWrite = Annotated[Caller, Depends(require("webhooks:write"))]

# Handlers
ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
TheirDesk = Annotated[Desk, TaskiqDepends(get_desk)]
