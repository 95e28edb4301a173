"""What whoever uploads may say of an asset: its preset set and its priority. Pure, and JSON both ways.

The set is kept as it is now: whoever edits or deletes it later changes nothing of the assets that were accepted.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field

from services.media.preset_sets import body_of, find_body
from services.media.presets import PresetSet, focal_point
from shared.db.engine import Database
from shared.kernel.errors import BadInput

Priority = Literal["interactive", "bulk"]
Focus = Annotated[
    str | None, Field(max_length=20, description="where `cover` cuts a picture: `0.3,0.7` from the top left")
]


@dataclass(frozen=True, slots=True)
class Options:
    """`presets` is the wire form of the set that `preset_set` names, as JSON text."""

    preset_set: str
    presets: str
    priority: Priority = "interactive"

    def wire(self) -> str:
        """For `media_uploads.options`."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of what `wire` gave."""
        return cls(**orjson.loads(text))


async def choose_options(
    database: Database,
    tenant: str,
    presets: str,
    priority: Priority,
    focus: str | None = None,
    *,
    at: str = "query",
) -> Options:
    """Options for an asset that is to be made; raises BadInput when the tenant has no preset set of this name.

    `focus` is where cuts of a picture look, see presets.focal_point; `at` is where both stand in the request: whoever
    got them wrong is told.
    """
    point = focal_point(focus, at=(at, pointer_of("focus", at))) if focus is not None else None
    try:
        found = await find_body(database, tenant, presets)
    except BadInput as unknown:
        raise BadInput(unknown.message, place=at, pointer=pointer_of("presets", at), found=presets) from None
    if point is not None:
        found = body_of(PresetSet.parse(orjson.loads(found)).focused(point))
    return Options(presets, found, priority)


async def choose_again(
    database: Database,
    asset: Mapping[str, Any],
    presets: str | dict[str, Any] | None,
    priority: Priority | None,
    focus: str | None,
) -> Options:
    """Options for an asset that is there, as a body says them: a set by its name, or a whole set for this once. What it
    does not say is the asset's own, its set as that is now, or as it was when it is gone. Raises BadInput.
    """
    priority = priority or asset["priority"]
    if isinstance(presets, dict):
        once = _given(presets)
        return _with(once, once.name, priority, focus)
    try:
        name = presets or asset["preset_set"]
        return await choose_options(database, asset["tenant"], name, priority, focus, at="body")
    except BadInput:
        if presets is not None or asset["presets"] is None:
            raise
    if focus is None:
        return Options(asset["preset_set"], asset["presets"], priority)
    return _with(PresetSet.parse(orjson.loads(asset["presets"])), asset["preset_set"], priority, focus)


def _given(presets: dict[str, Any]) -> PresetSet:
    try:
        return PresetSet.parse({"name": "custom", **presets})
    except BadInput as wrong:
        details = {**wrong.details, "pointer": f"/presets{wrong.details.get('pointer', '')}"}
        raise BadInput(wrong.message, **details) from None


def _with(chosen: PresetSet, name: str, priority: Priority, focus: str | None) -> Options:
    if focus is not None:
        chosen = chosen.focused(focal_point(focus, at=("body", "/focus")))
    return Options(name, body_of(chosen), priority)


def pointer_of(name: str, at: str) -> str:
    """The protocol tus has one header for all that is said of an upload."""
    return "/Upload-Metadata" if at == "header" else f"/{name}"
