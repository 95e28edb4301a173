"""What routes and handlers are given: short names for the dependencies they share."""

from typing import Annotated

from fastapi import Depends, Request
from pydantic import AfterValidator
from taskiq import TaskiqDepends

from services.media.blobs import Blobs
from services.media.buffers import Buffers
from services.media.links import Links
from services.media.places import Places
from services.media.pool import Pool
from services.media.presets import is_set_name
from services.media.room import Room
from services.media.settings import MediaSettings
from shared.kernel.errors import NotFound
from shared.runtime.callers import Caller, require
from shared.runtime.pages import Page, pages_of, pages_of_keys
from shared.runtime.paths import id_of
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


def get_places(request: Request = TaskiqDepends()) -> Places:
    places: Places = request.app.state.places
    return places


async def held(request: Request) -> Resources:
    return get_resources(request)


async def held_blobs(request: Request) -> Blobs:
    return get_blobs(request)


async def held_buffers(request: Request) -> Buffers:
    buffers: Buffers = request.app.state.buffers
    return buffers


async def held_room(request: Request) -> Room:
    room: Room = request.app.state.room
    return room


async def held_settings(request: Request) -> MediaSettings:
    return get_settings(request)


def _set_name(text: str) -> str:
    if not is_set_name(text):
        raise NotFound(f"there is no preset set {text[:64]}")
    return text


async def held_links(request: Request) -> Links:
    links: Links = request.app.state.links
    return links


# Routes
AssetId = Annotated[str, id_of("ast", "asset")]
SetInPath = Annotated[str, AfterValidator(_set_name)]
SetPage = Annotated[Page, pages_of_keys("sets", 200)]
Held = Annotated[Resources, Depends(held)]
HeldBlobs = Annotated[Blobs, Depends(held_blobs)]
HeldBuffers = Annotated[Buffers, Depends(held_buffers)]
HeldRoom = Annotated[Room, Depends(held_room)]
UploadId = Annotated[str, id_of("upl", "upload")]
HeldLinks = Annotated[Links, Depends(held_links)]
HeldSettings = Annotated[MediaSettings, Depends(held_settings)]
MayRead = Annotated[Caller, Depends(require("media:read"))]
MayWrite = Annotated[Caller, Depends(require("media:write"))]
MayReadOrWrite = Annotated[Caller, Depends(require("media:read", "media:write"))]  # who uploads asks how far it is

AssetPage = Annotated[Page, pages_of("ast")]

# Handlers
ThisAttempt = Annotated[Attempt, TaskiqDepends(get_attempt)]
TheirResources = Annotated[Resources, TaskiqDepends(get_resources)]
TheirBlobs = Annotated[Blobs, TaskiqDepends(get_blobs)]
TheirPlaces = Annotated[Places, TaskiqDepends(get_places)]
TheirPool = Annotated[Pool, TaskiqDepends(get_pool)]
TheirSettings = Annotated[MediaSettings, TaskiqDepends(get_settings)]
