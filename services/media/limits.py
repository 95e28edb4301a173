"""How large a file of each kind may be, as data; a refusal says which limit, its value, and what was found."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from services.media.errors import MediaError
from services.media.films.limits import AudioLimits, VideoLimits
from services.media.strict import Range, check, read, wire

MIB = 1024 * 1024
MOST = 2**62


@dataclass(frozen=True)
class ImageLimits:
    """`pixels` counts every frame that is decoded, as that is what a decoder may have to hold; `output_pixels` those of
    all renditions together, as they are what takes time.
    """

    size_bytes: Annotated[int, Range(1, MOST)] = 32 * MIB
    pixels: Annotated[int, Range(1, MOST)] = 50_000_000
    frames: Annotated[int, Range(1, MOST)] = 100
    output_pixels: Annotated[int, Range(1, MOST)] = 100_000_000

    def __post_init__(self) -> None:
        check(self)

    def check_size(self, size_bytes: int) -> None:
        if size_bytes > self.size_bytes:
            found, limit = f"{size_bytes / MIB:.1f} MiB", f"{self.size_bytes / MIB:g} MiB"
            raise refusal("too_many_bytes", f"the file has {found}", limit, self.size_bytes, size_bytes)

    def check_shape(self, width: int, height: int, frames: int, *, what: str = "the image") -> None:
        if frames > self.frames:
            raise refusal("too_many_frames", f"{what} has {frames} frames", str(self.frames), self.frames, frames)
        pixels = width * height * frames
        if pixels > self.pixels:
            each = f"{width} x {height}" + (f" x {frames} frames" if frames > 1 else "")
            found, limit = f"{pixels / 1e6:.1f} megapixels ({each})", f"{self.pixels / 1e6:g} megapixels"
            raise refusal("too_many_pixels", f"{what} has {found}", limit, self.pixels, pixels)

    def check_output(self, pixels: int, renditions: int) -> None:
        if pixels > self.output_pixels:
            what = "the rendition" if renditions == 1 else f"the {renditions} renditions together"
            found, limit = f"{pixels / 1e6:.1f} megapixels", f"{self.output_pixels / 1e6:g} megapixels"
            raise refusal("too_many_pixels", f"{what} would have {found}", limit, self.output_pixels, pixels)


@dataclass(frozen=True)
class Limits:
    """Of every kind; `wire` travels to a slot, `parse` reads it there."""

    image: ImageLimits = field(default_factory=ImageLimits)
    video: VideoLimits = field(default_factory=VideoLimits)
    audio: AudioLimits = field(default_factory=AudioLimits)

    @classmethod
    def parse(cls, data: Any) -> "Limits":
        """Raises BadInput with a pointer; what is missing has its default."""
        return read(cls, data)

    def wire(self) -> dict[str, Any]:
        return wire(self)


def refusal(code: str, found_text: str, limit_text: str, limit: float, found: float) -> MediaError:
    """`found_text` is a clause: "the file has 33.0 MiB"; `limit` and `found` are in the unit of the limit's name."""
    return MediaError(f"{found_text}; the limit is {limit_text}", code=code, limit=limit, found=found)
