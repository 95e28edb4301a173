"""Events: what has happened, past tense, with a version in the name; delivered to endpoints by webhooks.

A field may be added to a version; anything else is a new version. `data` of an event is one of these models as JSON.
"""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    model_config = ConfigDict(frozen=True)
    type: ClassVar[str]


class Rendition(BaseModel):
    """`kind` is image, video, audio or peaks; what has no sides has no `width`, what does not last no `duration_s`."""

    name: str
    width: int | None = None
    height: int | None = None
    format: str
    size_bytes: int
    kind: str = "image"
    duration_s: float | None = None


class AssetAccepted(Event):
    """`kind` is image, video or audio; `priority` interactive or bulk."""

    type: ClassVar[str] = "media.asset.accepted.v1"

    asset_id: str
    job_id: str
    kind: str
    size_bytes: int
    sha256: str
    preset_set: str
    priority: str


class AssetProcessed(Event):
    type: ClassVar[str] = "media.asset.processed.v1"

    asset_id: str
    job_id: str
    renditions: tuple[Rendition, ...]
    kind: str = "image"


class AssetFailed(Event):
    type: ClassVar[str] = "media.asset.failed.v1"

    asset_id: str
    job_id: str
    reason: str
    message: str


EVENTS: dict[str, type[Event]] = {event.type: event for event in (AssetAccepted, AssetProcessed, AssetFailed)}
