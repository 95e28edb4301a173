"""Events: what has happened, past tense, with a version in the name; delivered to endpoints by webhooks.

A field may be added to a version; anything else is a new version. `data` of an event is one of these models as JSON.
"""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    model_config = ConfigDict(frozen=True)
    type: ClassVar[str]


class Rendition(BaseModel):
    name: str
    width: int
    height: int
    format: str
    size_bytes: int


class AssetProcessed(Event):
    type: ClassVar[str] = "media.asset.processed.v1"

    asset_id: str
    job_id: str
    renditions: tuple[Rendition, ...]


class AssetFailed(Event):
    type: ClassVar[str] = "media.asset.failed.v1"

    asset_id: str
    job_id: str
    reason: str
    message: str


EVENTS: dict[str, type[Event]] = {event.type: event for event in (AssetProcessed, AssetFailed)}
