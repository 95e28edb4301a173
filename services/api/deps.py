"""What routes and handlers are given: short names for the dependencies they share."""

from typing import Annotated

from fastapi import Depends, Request
from taskiq import TaskiqDepends

from services.api.mail import Mailer
from services.api.settings import ApiSettings
from shared.runtime.callers import Caller, require
from shared.runtime.pages import Page, pages_of
from shared.runtime.paths import id_in_path
from shared.runtime.resources import Resources, get_resources
from shared.transport.attempt import Attempt, get_attempt


def get_mailer(request: Request = TaskiqDepends()) -> Mailer:
    mailer: Mailer = request.app.state.mailer
    return mailer


def get_settings(request: Request = TaskiqDepends()) -> ApiSettings:
    settings: ApiSettings = request.app.state.api_settings
    return settings


async def held(request: Request) -> Resources:
    return get_resources(request)


# Routes
JobId = Annotated[str, id_in_path("job", "job")]
UserId = Annotated[str, id_in_path("user", "user")]
JobPage = Annotated[Page, pages_of("job")]
Held = Annotated[Resources, Depends(held)]
MayReadJobs = Annotated[Caller, Depends(require("jobs:read"))]
MayWriteJobs = Annotated[Caller, Depends(require("jobs:write"))]
MayReadDead = Annotated[Caller, Depends(require("dead:read"))]
MayWriteDead = Annotated[Caller, Depends(require("dead:write"))]
MayReadUsers = Annotated[Caller, Depends(require("users:read"))]
MayWriteUsers = Annotated[Caller, Depends(require("users:write"))]

# Handlers
ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
TheirResources = Annotated[Resources, TaskiqDepends(get_resources)]
TheirMailer = Annotated[Mailer, TaskiqDepends(get_mailer)]
TheirSettings = Annotated[ApiSettings, TaskiqDepends(get_settings)]
