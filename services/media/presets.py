"""Which renditions an upload gets, as data. A preset set is chosen by name; it travels to a slot as JSON.

Invariants: a rendition keeps the proportions of what it shows, has no side above SIDE_MAX_PX, and is never larger than
its picture unless its preset says `enlarge`. The names in a set are unique for each kind: they become file names.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from services.media.films.presets import AUDIO_DEFAULT, VIDEO_DEFAULT, AudioPreset, VideoPreset
from services.media.strict import Range, WrongField, check, read, wire
from shared.kernel.errors import BadInput

SIDE_MAX_PX = 8192
_POINT = re.compile(r"([01](?:\.\d{1,6})?),([01](?:\.\d{1,6})?)", re.ASCII)
PRESETS_MAX = 20  # of one kind in a set
CONTENT_TYPES = {"webp": "image/webp", "avif": "image/avif", "jpeg": "image/jpeg", "png": "image/png"}

Side = Annotated[int, Range(1, SIDE_MAX_PX)]
Fraction = Annotated[float, Range(0, 1)]


class Encoder(NamedTuple):
    """What a format gets when its preset says nothing, and the most that its effort can be."""

    quality: int
    effort: int
    effort_max: int
    moving_effort: int = 0


ENCODERS = {
    "webp": Encoder(80, 4, 6, moving_effort=2),  # above 4 buys nothing; frames are tried twice, 2 takes half of 4
    "avif": Encoder(60, 2, 9),  # 4 costs seven times what 3 does
    "jpeg": Encoder(82, 1, 2),
    "png": Encoder(100, 6, 9),
}


@dataclass(frozen=True)
class Preset:
    """How one rendition of a picture is made; docs/reference/media-presets.md says what each field does.

    `width` and `height` are pixels of the picture as it is shown. `focus` is where a crop looks: two fractions are a
    point from the top left. `quality` and `effort` are the format's own when they are null.
    """

    name: Annotated[str, Range(1, 64)]
    width: Side | None = None
    height: Side | None = None
    format: Literal["webp", "avif", "jpeg", "png"] = "webp"
    quality: Annotated[int, Range(1, 100)] | None = None
    effort: Annotated[int, Range(0, 9)] | None = None
    fit: Literal["inside", "cover", "contain"] = "inside"
    focus: Literal["centre", "attention", "entropy"] | tuple[Fraction, Fraction] = "centre"
    background: str | None = None
    enlarge: bool = False
    lossless: bool = False
    animated: bool = True

    def __post_init__(self) -> None:
        check(self)
        if not (self.name.isascii() and self.name.isalnum()):
            raise WrongField("name", "becomes a file name: letters and digits only", self.name)
        if self.width is None and self.height is None:
            raise WrongField("width", "a width, a height, or both are needed", None)
        if self.fit != "inside" and (self.width is None or self.height is None):
            raise WrongField("fit", f"{self.fit} needs a width and a height", self.fit)
        if self.effort is not None and self.effort > self.encoder.effort_max:
            raise WrongField("effort", f"must be 0 to {self.encoder.effort_max} for {self.format}", self.effort)
        if self.lossless and self.format not in ("webp", "avif"):
            raise WrongField("lossless", "is for webp and avif; png always is, jpeg never", self.lossless)
        if self.background is not None and self._colour is None:
            raise WrongField("background", "must be a colour as #rrggbb", self.background)

    @property
    def encoder(self) -> Encoder:
        return ENCODERS[self.format]

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.format]

    @property
    def moves(self) -> bool:
        """Whether an animation stays one."""
        return self.animated and self.format == "webp"

    @property
    def backdrop(self) -> tuple[int, int, int] | None:
        """What lies under transparent pixels and beside the picture; None leaves them transparent."""
        white = (255, 255, 255) if self.format == "jpeg" else None
        return self._colour or white

    @cached_property
    def _colour(self) -> tuple[int, int, int] | None:
        text = self.background or ""
        if len(text) != len("#rrggbb") or text[0] != "#" or not all(c in "0123456789abcdefABCDEF" for c in text[1:]):
            return None
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)

    def wire(self) -> dict[str, Any]:
        return wire(self)


@dataclass(frozen=True)
class PresetSet:
    """`damaged` says what becomes of a picture that ends early or is broken in part: `show` makes what can be seen."""

    name: Annotated[str, Range(1, 64)]
    image: Annotated[tuple[Preset, ...], Range(0, PRESETS_MAX)] = ()
    video: Annotated[tuple[VideoPreset, ...], Range(0, PRESETS_MAX)] = ()
    audio: Annotated[tuple[AudioPreset, ...], Range(0, PRESETS_MAX)] = ()
    damaged: Literal["refuse", "show"] = "refuse"

    def __post_init__(self) -> None:
        check(self)
        if not is_set_name(self.name):
            raise WrongField("name", "must be letters, digits, - and _", self.name)
        for kind in ("image", "video", "audio"):
            names = [preset.name for preset in getattr(self, kind)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise WrongField(kind, f"the name {twice} comes twice", twice)

    def focused(self, point: tuple[float, float]) -> "PresetSet":
        """The same set for one picture whose middle of interest is known: every cut looks there."""
        image = (replace(preset, focus=point) if preset.fit == "cover" else preset for preset in self.image)
        return replace(self, image=tuple(image))

    @classmethod
    def parse(cls, data: Any) -> "PresetSet":
        """What `wire` gave, or a person wrote. Raises BadInput with a pointer into it."""
        return read(cls, data)

    def wire(self) -> dict[str, Any]:
        return wire(self)


def focal_point(text: str, *, at: tuple[str, str] = ("query", "/focus")) -> tuple[float, float]:
    """Of `0.3,0.7`: fractions from the left and the top. Raises BadInput for what stands `at` there in the request."""
    found = _POINT.fullmatch(text)
    point = (float(found[1]), float(found[2])) if found else (2.0, 2.0)
    if max(point) > 1:
        words = "focus must be two fractions from the top left, such as 0.3,0.7"
        raise BadInput(words, place=at[0], pointer=at[1], found=text[:100])
    return point


def is_set_name(text: str) -> bool:
    return text.isascii() and text.replace("-", "").replace("_", "").isalnum() and len(text) <= 64


W320 = Preset("w320", 320, 320)
W1280 = Preset("w1280", 1280, 1280)

PRESET_SETS: dict[str, PresetSet] = {
    "default": PresetSet("default", image=(W320, W1280), video=VIDEO_DEFAULT, audio=AUDIO_DEFAULT)
}


def preset_set(name: str) -> PresetSet:
    """One that is built in. Raises BadInput, which names those."""
    if name not in PRESET_SETS:
        raise unknown_set(name, PRESET_SETS)
    return PRESET_SETS[name]


def unknown_set(name: str, known: Any) -> BadInput:
    """For `?presets=`."""
    names = ", ".join(sorted(known))
    return BadInput(f"there is no preset set {name!r}; known: {names}", place="query", pointer="/presets", found=name)
