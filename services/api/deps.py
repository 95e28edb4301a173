"""What routes and handlers are given: short names for the dependencies they share."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator
from taskiq import TaskiqDepends

from services.api.llm import Llm
from services.api.mail import Mailer
from services.api.queues import check_queue
from services.api.settings import ApiSettings
from shared.contracts.lane import NAME_MOST_CHARS, is_lane_name
from shared.kernel.errors import BadInput
from shared.runtime.callers import Caller, require
from shared.runtime.pages import Page, pages_of, pages_of_keys
from shared.runtime.paths import id_of
from shared.runtime.resources import Resources, get_resources
from shared.runtime.watch import JobWatch
from shared.transport.attempt import Attempt, get_attempt


def get_mailer(request: Request = TaskiqDepends()) -> Mailer:
    mailer: Mailer = request.app.state.mailer
    return mailer


def get_settings(request: Request = TaskiqDepends()) -> ApiSettings:
    settings: ApiSettings = request.app.state.api_settings
    return settings


def get_llm(request: Request = TaskiqDepends()) -> Llm | None:
    llm: Llm | None = request.app.state.llm
    return llm


async def held(request: Request) -> Resources:
    return get_resources(request)


Held = Annotated[Resources, Depends(held)]


def _lane(name: str) -> str:
    if not is_lane_name(name):
        words = f"a lane's name is 1 to {NAME_MOST_CHARS} printable characters without /"
        raise BadInput(words, place="path", pointer="/name", found=name[:NAME_MOST_CHARS])
    return name


async def held_watch(request: Request) -> JobWatch:
    watch: JobWatch = request.app.state.watch
    return watch


async def held_llm(request: Request) -> Llm | None:
    return get_llm(request)


async def held_settings(request: Request) -> ApiSettings:
    return get_settings(request)


async def _named(name: Annotated[str, Path()], resources: Held) -> str:
    return await check_queue(resources, name)


async def _of_a_lane(queue: Annotated[str, Path()], resources: Held) -> str:
    return await check_queue(resources, queue)


async def _chosen(resources: Held, queue: Annotated[str | None, Query()] = None) -> str | None:
    return None if queue is None else await check_queue(resources, queue)


# Routes
QueueName = Annotated[str, Depends(_named)]
QueueOfLane = Annotated[str, Depends(_of_a_lane)]
QueueChosen = Annotated[str | None, Depends(_chosen)]
LaneName = Annotated[str, AfterValidator(_lane)]
LanePage = Annotated[Page, pages_of_keys("lanes", 1_200)]  # a queue, and a lane's name in UTF-8
JobId = Annotated[str, id_of("job", "job")]
UserId = Annotated[str, id_of("user", "user")]
ActionId = Annotated[str, id_of("act", "action")]
JobPage = Annotated[Page, pages_of("job")]
ActionPage = Annotated[Page, pages_of("act")]
ItemPage = Annotated[Page, pages_of_keys("items", 2_800)]  # an item's id in UTF-8
HourPage = Annotated[Page, pages_of_keys("hours", 400)]  # an hour and a task's name
HeldWatch = Annotated[JobWatch, Depends(held_watch)]
HeldLlm = Annotated[Llm | None, Depends(held_llm)]
HeldSettings = Annotated[ApiSettings, Depends(held_settings)]
MayReadJobs = Annotated[Caller, Depends(require("jobs:read"))]
MayWriteJobs = Annotated[Caller, Depends(require("jobs:write"))]
MayReadDead = Annotated[Caller, Depends(require("dead:read"))]
MayWriteDead = Annotated[Caller, Depends(require("dead:write"))]
MayReadLanes = Annotated[Caller, Depends(require("lanes:read"))]
MayWriteLanes = Annotated[Caller, Depends(require("lanes:write"))]
MayReadQueues = Annotated[Caller, Depends(require("queues:read"))]
MayWriteQueues = Annotated[Caller, Depends(require("queues:write"))]
MayWritePrompts = Annotated[Caller, Depends(require("prompts:write"))]
MayReadSchedules = Annotated[Caller, Depends(require("schedules:read"))]
MayWriteSchedules = Annotated[Caller, Depends(require("schedules:write"))]
MayReadSynced = Annotated[Caller, Depends(require("synced:read"))]
MayReadUsers = Annotated[Caller, Depends(require("users:read"))]
MayWriteUsers = Annotated[Caller, Depends(require("users:write"))]

# Handlers
ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
TheirResources = Annotated[Resources, TaskiqDepends(get_resources)]
TheirLlm = Annotated[Llm | None, TaskiqDepends(get_llm)]
TheirMailer = Annotated[Mailer, TaskiqDepends(get_mailer)]
TheirSettings = Annotated[ApiSettings, TaskiqDepends(get_settings)]
