"""How large and how long a video and a sound may be, as data; a refusal says which limit, its value, what was found."""

from dataclasses import dataclass
from typing import Annotated

from services.media.errors import MediaError
from services.media.strict import Range, check

MIB = 1024 * 1024
MOST = 2**62


class _Lengths:
    """What a video and a sound have in common."""

    size_bytes: int
    duration_s: float
    streams: int
    packets: int

    def check_size(self, size_bytes: int) -> None:
        if size_bytes > self.size_bytes:
            found, limit = f"{size_bytes / MIB:.1f} MiB", f"{self.size_bytes / MIB:g} MiB"
            raise over("too_many_bytes", f"the file has {found}", limit, self.size_bytes, size_bytes)

    def check_streams(self, streams: int) -> None:
        if streams > self.streams:
            raise over("too_many_streams", f"the file has {streams} streams", str(self.streams), self.streams, streams)

    def check_duration(self, duration_s: float) -> None:
        if duration_s > self.duration_s:
            self._refuse_length(f"{duration_s:.1f} s", duration_s)

    def check_played(self, until_s: float) -> None:
        """As long as this it is at least; how long it is altogether, nobody has seen."""
        if until_s > self.duration_s:
            self._refuse_length(f"more than {self.duration_s:g} s", until_s)

    def _refuse_length(self, found: str, found_s: float) -> None:
        limit = f"{self.duration_s:g} s"
        raise over("too_long", f"it lasts for {found}", limit, self.duration_s, round(found_s, 3))

    def check_packets(self, packets: int) -> None:
        if packets > self.packets:
            raise over(
                "too_many_frames",
                f"the file has more than {self.packets} coded frames",
                f"{self.packets}",
                self.packets,
                packets,
            )


@dataclass(frozen=True)
class VideoLimits(_Lengths):
    """`pixels` of one frame, of which a decoder may hold more than a dozen; `packets` of all streams together."""

    size_bytes: Annotated[int, Range(1, MOST)] = 2048 * MIB
    duration_s: Annotated[float, Range(0.001, 1e9)] = 7200.0
    pixels: Annotated[int, Range(1, MOST)] = 4096 * 2304
    streams: Annotated[int, Range(1, 1000)] = 32
    packets: Annotated[int, Range(1, MOST)] = 5_000_000

    def __post_init__(self) -> None:
        check(self)

    def check_frame(self, width: int, height: int) -> None:
        pixels = width * height
        if pixels > self.pixels:
            found, limit = f"{pixels / 1e6:.1f} megapixels ({width} x {height})", f"{self.pixels / 1e6:g} megapixels"
            raise over("too_many_pixels", f"a frame has {found}", limit, self.pixels, pixels)


@dataclass(frozen=True)
class AudioLimits(_Lengths):
    size_bytes: Annotated[int, Range(1, MOST)] = 512 * MIB
    duration_s: Annotated[float, Range(0.001, 1e9)] = 14_400.0
    streams: Annotated[int, Range(1, 1000)] = 32
    packets: Annotated[int, Range(1, MOST)] = 5_000_000

    def __post_init__(self) -> None:
        check(self)


def over(code: str, found_text: str, limit_text: str, limit: float, found: float) -> MediaError:
    return MediaError(f"{found_text}; the limit is {limit_text}", code=code, limit=limit, found=found)
