"""Which renditions a video and a sound get, as data: one preset is one file. They travel to a slot as JSON.

Invariants: a name is a file name; nothing is ever enlarged; a video's sides are even; the box of a video is turned for
one that stands upright, so that `720p` of a telephone's video is 720 wide and 1280 high.

    make      of a video                                    of a sound
    poster    one representative frame (webp, jpeg)         -
    mp4       H.264 and AAC, faststart                      AAC in MP4 (m4a)
    preview   a short animated WebP without sound           -
    peaks     -                                             the waveform, as JSON
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from services.media.strict import Range, WrongField, check, read, wire

MP4_SIDE_MAX_PX, POSTER_SIDE_MAX_PX, PREVIEW_SIDE_MAX_PX = 1920, 4096, 640
SIDES = {"mp4": MP4_SIDE_MAX_PX, "poster": POSTER_SIDE_MAX_PX, "preview": PREVIEW_SIDE_MAX_PX}
RATES = {"mp4": 60, "poster": 1, "preview": 15}
FORMATS = {"poster": ("webp", "jpeg"), "mp4": ("mp4",), "preview": ("webp",)}
SOUND_FORMATS = {"peaks": ("json",), "mp4": ("m4a",)}
FILM_CONTENT_TYPES = {
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "mp4": "video/mp4",
    "m4a": "audio/mp4",
    "json": "application/json",
}

Name = Annotated[str, Range(1, 64)]


class _Wire:
    """Both ways between a preset and JSON."""

    format: Any

    @property
    def content_type(self) -> str:
        return FILM_CONTENT_TYPES[self.format]

    @classmethod
    def parse(cls, data: Any, pointer: str = "") -> Self:
        """Raises BadInput; its pointer leads to what is wrong."""
        return read(cls, data, pointer)

    def wire(self) -> dict[str, Any]:
        return wire(self)


@dataclass(frozen=True)
class VideoPreset(_Wire):
    """`width` and `height` in pixels are the box. What does not concern a `make` is left alone.

    poster, preview: `quality`. mp4: `crf` (lower is better), `speed` of x264, `rate_kbps` the most that is spent on a
    second of pictures, `fps` the most frames in a second, `sound_kbps` (0: no sound). preview: `fps`, and `seconds` in
    all, from several places of the video. `format` and `fps` are the first and the most of their `make` when null.
    """

    name: Name
    make: Literal["poster", "mp4", "preview"]
    width: Annotated[int, Range(16, POSTER_SIDE_MAX_PX)]
    height: Annotated[int, Range(16, POSTER_SIDE_MAX_PX)]
    format: Literal["webp", "jpeg", "mp4"] | None = None
    quality: Annotated[int, Range(1, 100)] = 75
    crf: Annotated[int, Range(16, 40)] = 23
    speed: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"] = "veryfast"
    rate_kbps: Annotated[int, Range(100, 20_000)] = 3000
    sound_kbps: Annotated[int, Range(0, 320)] = 128
    fps: Annotated[int, Range(1, 60)] | None = None
    seconds: Annotated[int, Range(1, 10)] = 4

    def __post_init__(self) -> None:
        check(self)
        _settle(self, FORMATS)
        if self.fps is None:
            object.__setattr__(self, "fps", RATES[self.make])
        if (self.fps or 0) > RATES[self.make]:
            raise WrongField("fps", f"must be 1 to {RATES[self.make]} for {self.make}", self.fps)
        for side in ("width", "height"):
            if getattr(self, side) > SIDES[self.make]:
                raise WrongField(side, f"must be 16 to {SIDES[self.make]} for {self.make}", getattr(self, side))
        if 0 < self.sound_kbps < 32:
            raise WrongField("sound_kbps", "must be 32 to 320, or 0 for no sound", self.sound_kbps)


@dataclass(frozen=True)
class AudioPreset(_Wire):
    """peaks: at most `points` pairs over the whole length. mp4: `kbps` of AAC; mono stays so, more becomes stereo."""

    name: Name
    make: Literal["peaks", "mp4"]
    format: Literal["json", "m4a"] | None = None
    points: Annotated[int, Range(10, 10_000)] = 1000
    kbps: Annotated[int, Range(32, 320)] = 128

    def __post_init__(self) -> None:
        check(self)
        _settle(self, SOUND_FORMATS)


def _settle(preset: VideoPreset | AudioPreset, formats: Mapping[str, tuple[str, ...]]) -> None:
    """Check the name and the format; a format that is left out is the first that there is."""
    if not (preset.name.isascii() and preset.name.isalnum()):
        raise WrongField("name", "becomes a file name: letters and digits only", preset.name)
    if preset.format is None:
        object.__setattr__(preset, "format", formats[preset.make][0])
    if preset.format not in formats[preset.make]:
        allowed = ", ".join(formats[preset.make])
        raise WrongField("format", f"must be one of {allowed} for {preset.make}", preset.format)


POSTER = VideoPreset("poster", "poster", 1280, 1280, quality=80)
MP4_720 = VideoPreset("720p", "mp4", 1280, 720, rate_kbps=3000)
MP4_480 = VideoPreset("480p", "mp4", 854, 480, rate_kbps=1200, sound_kbps=96)
PREVIEW = VideoPreset("preview", "preview", 320, 320, quality=60, fps=8)
PEAKS = AudioPreset("peaks", "peaks")
AAC = AudioPreset("aac", "mp4")

VIDEO_DEFAULT = (POSTER, MP4_720, MP4_480, PREVIEW)
AUDIO_DEFAULT = (PEAKS, AAC)
