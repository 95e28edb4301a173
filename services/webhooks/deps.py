"""What routes and handlers are given: short names for the dependencies they share."""

from typing import Annotated

from fastapi import Depends, Request
from pydantic import AfterValidator
from taskiq import TaskiqDepends

from services.webhooks.desk import Desk
from services.webhooks.patterns import is_event_type
from services.webhooks.settings import WebhooksSettings
from shared.kernel.errors import NotFound
from shared.runtime.callers import Caller, require
from shared.runtime.pages import Page, pages_of, pages_of_keys
from shared.runtime.paths import id_of
from shared.runtime.resources import Resources, get_resources
from shared.transport.attempt import Attempt, get_attempt


def get_desk(request: Request = TaskiqDepends()) -> Desk:
    desk: Desk = request.app.state.webhooks
    return desk


def get_settings(request: Request = TaskiqDepends()) -> WebhooksSettings:
    return get_desk(request).settings


async def held(request: Request) -> Resources:
    return get_resources(request)


async def desk_of(request: Request) -> Desk:
    return get_desk(request)


def _type(text: str) -> str:
    if not is_event_type(text):
        raise NotFound(f"there is no event type {text[:100]}")
    return text


# Routes
EndpointId = Annotated[str, id_of("ep", "endpoint")]
TypeInPath = Annotated[str, AfterValidator(_type)]
TypePage = Annotated[Page, pages_of_keys("types", 200)]
EventId = Annotated[str, id_of("evt", "event")]
DeliveryId = Annotated[str, id_of("job", "delivery")]
TestId = Annotated[str, id_of("job", "test")]
ReplayId = Annotated[str, id_of("job", "replay")]
EndpointPage = Annotated[Page, pages_of("ep")]
DeliveryPage = Annotated[Page, pages_of("job")]
ReplayPage = Annotated[Page, pages_of("job")]
Held = Annotated[Resources, Depends(held)]
TheDesk = Annotated[Desk, Depends(desk_of)]
MayRead = Annotated[Caller, Depends(require("webhooks:read"))]
MayWrite = Annotated[Caller, Depends(require("webhooks:write"))]

# Handlers
ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
TheirDesk = Annotated[Desk, TaskiqDepends(get_desk)]
TheirResources = Annotated[Resources, TaskiqDepends(get_resources)]
TheirSettings = Annotated[WebhooksSettings, TaskiqDepends(get_settings)]
