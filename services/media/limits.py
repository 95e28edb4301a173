"""How large a picture may be, as data; a refusal says which limit, its value, and what was found."""

from dataclasses import asdict, dataclass
from typing import Any

from services.media.errors import MediaError


@dataclass(frozen=True)
class ImageLimits:
    """`pixels` counts every frame of an animation together, as that is what a decoder may have to hold."""

    size_bytes: int = 32 * 1024 * 1024
    pixels: int = 50_000_000
    frames: int = 100

    def wire(self) -> dict[str, Any]:
        return asdict(self)

    def check_size(self, size_bytes: int) -> None:
        if size_bytes > self.size_bytes:
            found, limit = f"{size_bytes / 2**20:.1f} MiB", f"{self.size_bytes / 2**20:g} MiB"
            raise _refusal("too_many_bytes", f"the file has {found}", limit, self.size_bytes, size_bytes)

    def check_shape(self, width: int, height: int, frames: int) -> None:
        if frames > self.frames:
            raise _refusal("too_many_frames", f"the image has {frames} frames", str(self.frames), self.frames, frames)
        pixels = width * height * frames
        if pixels > self.pixels:
            each = f"{width} x {height}" + (f" x {frames} frames" if frames > 1 else "")
            found, limit = f"{pixels / 1e6:.1f} megapixels ({each})", f"{self.pixels / 1e6:g} megapixels"
            raise _refusal("too_many_pixels", f"the image has {found}", limit, self.pixels, pixels)


def _refusal(code: str, found_text: str, limit_text: str, limit: int, found: int) -> MediaError:
    return MediaError(f"{found_text}; the limit is {limit_text}", code=code, limit=limit, found=found)
