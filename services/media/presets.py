"""Which renditions an upload gets, as data. A preset set is chosen by name; its presets travel to a slot as JSON.

Invariant: every preset fits inside its box, keeps the proportions, and never enlarges.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from shared.kernel.errors import BadInput

SIDE_MAX_PX = 8192
CONTENT_TYPES = {"webp": "image/webp"}


@dataclass(frozen=True)
class Preset:
    """`width` and `height` are the box in pixels; `quality` 1-100; WebP effort above 4 buys nothing (measured)."""

    name: str
    width: int
    height: int
    format: Literal["webp"] = "webp"
    quality: int = 80
    effort: int = 4

    def __post_init__(self) -> None:
        if not (self.name.isascii() and self.name.isalnum()):
            raise ValueError(f"the preset name {self.name!r} becomes a file name: letters and digits only")
        if not (0 < self.width <= SIDE_MAX_PX and 0 < self.height <= SIDE_MAX_PX):
            raise ValueError(f"preset {self.name}: a side is 1 to {SIDE_MAX_PX} px")

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.format]

    def wire(self) -> dict[str, Any]:
        return asdict(self)


W320 = Preset("w320", 320, 320)
W1280 = Preset("w1280", 1280, 1280)

PRESET_SETS: dict[str, tuple[Preset, ...]] = {"default": (W320, W1280)}


def preset_set(name: str) -> tuple[Preset, ...]:
    """Raises BadInput, which names the sets that there are."""
    if name not in PRESET_SETS:
        known = ", ".join(sorted(PRESET_SETS))
        raise BadInput(
            f"there is no preset set {name!r}; known: {known}", place="query", pointer="/presets", found=name
        )
    return PRESET_SETS[name]
