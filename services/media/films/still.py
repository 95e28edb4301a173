"""Frames of a film as pictures: which one stands for the whole, and how it becomes WebP or JPEG."""

import math
from typing import Any

import pyvips
from av.video.frame import VideoFrame

from services.media.films.frames import Shaper
from services.media.films.look import Look
from services.media.films.presets import VideoPreset
from services.media.films.shape import fitted

LOOK_AT_PX = 64
DARK, LIGHT = 28, 228
"""Of 255: a picture whose mean is beyond them is next to black or white, and stands for nothing."""


def interest(luma: bytes) -> float:
    """How much there is to see, by its contrast; little for what is next to black or white. Pure."""
    count = len(luma)
    mean = sum(luma) / count
    deviation = math.sqrt(max(0.0, sum(value * value for value in luma) / count - mean * mean))
    return deviation if DARK <= mean <= LIGHT else deviation * 0.1


def interest_of(frame: VideoFrame) -> float:
    Look.of(frame).put_on(frame)
    size = fitted((frame.width, frame.height), (LOOK_AT_PX, LOOK_AT_PX))
    small = frame.reformat(width=size[0], height=size[1], format="gray", threads=1)
    return interest(_packed(small, 1))


def picture_of(frame: VideoFrame, shaper: Shaper) -> pyvips.Image:
    """In sRGB, of the shaper's size; the shaper's pixels are rgb24."""
    shaped = [*shaper.shape(frame, 0), *shaper.flush()][-1]
    data = _packed(shaped, 3)
    image = pyvips.Image.new_from_memory(data, shaped.width, shaped.height, 3, "uchar")
    return image.copy(interpretation="srgb").copy_memory()


def encoded(image: pyvips.Image, preset: VideoPreset) -> bytes:
    if preset.format == "jpeg":
        return _bytes(image.jpegsave_buffer(Q=preset.quality, optimize_coding=True, keep="none"))
    return _bytes(image.webpsave_buffer(Q=preset.quality, effort=4, keep="none"))


def animated(images: list[pyvips.Image], delays: list[int], preset: VideoPreset) -> bytes:
    """A WebP that plays for ever; `delays` in milliseconds, one for each."""
    strip = pyvips.Image.arrayjoin(images, across=1).copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", images[0].height)
    strip.set_type(pyvips.GValue.array_int_type, "delay", delays)
    strip.set_type(pyvips.GValue.gint_type, "loop", 0)
    # keep="none" would throw the delays away with the metadata; there is no other metadata in frames from memory
    return _bytes(strip.webpsave_buffer(Q=preset.quality, effort=4, page_height=images[0].height))


def _packed(frame: VideoFrame, bands: int) -> bytes:
    """The first plane without the padding at the ends of its lines."""
    plane = frame.planes[0]
    data, line, wanted = memoryview(plane), plane.line_size, frame.width * bands
    if line == wanted:
        return bytes(data[: wanted * frame.height])
    return b"".join(data[at * line : at * line + wanted] for at in range(frame.height))


def _bytes(data: Any) -> bytes:
    return bytes(data)
