"""What routes and handlers are given: short names for the dependencies they share."""

from typing import Annotated

from fastapi import Depends, Request
from taskiq import TaskiqDepends

from services.media.blobs import Blobs
from services.media.pool import Pool
from services.media.settings import MediaSettings
from shared.runtime.callers import Caller, require
from shared.runtime.paths import id_in_path
from shared.runtime.resources import Resources, get_resources
from shared.transport.attempt import Attempt, get_attempt


def get_settings(request: Request = TaskiqDepends()) -> MediaSettings:
    settings: MediaSettings = request.app.state.media_settings
    return settings


def get_blobs(request: Request = TaskiqDepends()) -> Blobs:
    blobs: Blobs = request.app.state.blobs
    return blobs


def get_pool(request: Request = TaskiqDepends()) -> Pool:
    pool: Pool = request.app.state.pool
    return pool


async def held(request: Request) -> Resources:
    return get_resources(request)


async def held_blobs(request: Request) -> Blobs:
    return get_blobs(request)


async def held_settings(request: Request) -> MediaSettings:
    return get_settings(request)


# Routes
AssetId = Annotated[str, id_in_path("ast", "asset")]
Held = Annotated[Resources, Depends(held)]
HeldBlobs = Annotated[Blobs, Depends(held_blobs)]
HeldSettings = Annotated[MediaSettings, Depends(held_settings)]
MayRead = Annotated[Caller, Depends(require("media:read"))]
MayWrite = Annotated[Caller, Depends(require("media:write"))]

# Handlers
ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
TheirResources = Annotated[Resources, TaskiqDepends(get_resources)]
TheirBlobs = Annotated[Blobs, TaskiqDepends(get_blobs)]
TheirPool = Annotated[Pool, TaskiqDepends(get_pool)]
TheirSettings = Annotated[MediaSettings, TaskiqDepends(get_settings)]
