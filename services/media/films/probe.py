"""What a video is: read from its headers, and from its first frame, which proves that it can be shown at all."""

from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from services.media.errors import MediaError
from services.media.films.limits import VideoLimits
from services.media.films.look import Look
from services.media.films.shape import Filter, rotation_of, shown_size, turns_of
from services.media.films.streams import Film

FIRST_FRAME_PACKETS = 1000
"""A file whose first frame is not among so many packets is taken for broken."""
FPS_MAX = 1000

_PRIMARIES = {1: "bt709", 5: "bt601-625", 6: "bt601-525", 9: "bt2020", 11: "dci-p3", 12: "display-p3"}
_TRANSFERS = {1: "bt709", 6: "bt601", 8: "linear", 13: "srgb", 14: "bt2020-10", 15: "bt2020-12", 16: "pq", 18: "hlg"}
_MATRICES = {0: "rgb", 1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}


class Shown:
    """What the rest of the work needs to know of a video."""

    def __init__(self, film: Film, first: VideoFrame) -> None:
        assert film.video is not None
        sides: Any = first.side_data
        matrix = sides.get(Type.DISPLAYMATRIX)
        self.turns: tuple[Filter, ...] = turns_of(bytes(matrix) if matrix is not None else None)
        self.size = shown_size(first.width, first.height, film.video.sample_aspect_ratio, self.turns)
        self.fps = _sane(film.video.average_rate) or _sane(film.video.guessed_rate)
        self.look = Look.of(first)
        self.duration_s = film.duration_s


def probe_film(film: Film, limits: VideoLimits) -> tuple[dict[str, Any], Shown]:
    """{kind, format, duration_s, width, height (as shown), rotation, fps, codec, pixel_format, bit_rate, interlaced,
    colour: {primaries, transfer, matrix, range, hdr}, audio: {codec, sample_rate, channels, bit_rate} | None,
    streams, size_bytes}; `duration_s` is null when the file does not say.
    """
    assert film.video is not None
    first = first_frame(film)
    limits.check_frame(first.width, first.height)
    shown = Shown(film, first)
    limits.check_frame(*shown.size)
    look = shown.look
    return {
        "kind": "video",
        "format": film.found.format,
        "duration_s": _rounded(film.duration_s),
        "width": shown.size[0],
        "height": shown.size[1],
        "rotation": rotation_of(shown.turns),
        "fps": _rounded(float(shown.fps)) if shown.fps else None,
        "codec": film.video.codec_context.codec.canonical_name,
        "pixel_format": look.pixels,
        "bit_rate": bit_rate_of(film),
        "interlaced": look.interlaced,
        "colour": {
            "primaries": _PRIMARIES.get(look.primaries),
            "transfer": _TRANSFERS.get(look.transfer),
            "matrix": _MATRICES.get(look.matrix),
            "range": {1: "limited", 2: "full"}.get(look.range),
            "hdr": look.hdr,
        },
        "audio": audio_document(film.audio),
        "streams": film.streams,
        "size_bytes": film.size_bytes,
    }, shown


def audio_document(stream: AudioStream | None) -> dict[str, Any] | None:
    if stream is None:
        return None
    context = stream.codec_context
    return {
        "codec": context.codec.canonical_name,
        "sample_rate": context.sample_rate,
        "channels": context.channels,
        "bit_rate": stream.bit_rate or None,
    }


def bit_rate_of(film: Film) -> int | None:
    """Of all streams together, in bit/s."""
    if film.container.bit_rate:
        return film.container.bit_rate
    return round(film.size_bytes * 8 / film.duration_s) if film.duration_s else None


def first_frame(film: Film) -> VideoFrame:
    """Raises MediaError (corrupt) when there is none."""
    assert film.video is not None
    for number, packet in enumerate(film.container.demux(film.video)):
        if number > FIRST_FRAME_PACKETS:
            break
        try:
            for frame in packet.decode():
                return frame
        except av.error.InvalidDataError:
            continue
    raise MediaError("no frame of the video can be decoded", code="corrupt")


def _sane(rate: Fraction | None) -> Fraction | None:
    return rate if rate and 0 < rate <= FPS_MAX else None


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if value else None
