"""From a file to pixels: upright, in sRGB, 8 bits, reduced while they are decoded, one frame or all of them.

Invariants: a file is decoded once; a colour profile is applied and then of no more use; what cannot be seen is no
damage: bytes after the end or between parts, a missing end mark, a broken checksum of a text, a profile that is none.
Refuses pictures of which a part is missing or broken, unless `damaged` is `show`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyvips

from services.media.errors import MediaError
from services.media.pictures.geometry import Size
from services.media.probe import SIDEWAYS, refusing
from services.media.scaling import scaled

FAIL_ON = "error"
"""Damage as well as truncation."""
JPEG_FAIL_ON = "warning"
"""libjpeg fills what is missing of a picture with grey, and calls that a warning."""
JPEG_END = b"\xff\xd9"
# Warnings of libjpeg after which every pixel is there all the same.
_HARMLESS = ("extraneous bytes before marker", "unknown adobe color transform", "invalid sos parameters", "jfif")


class Frames(NamedTuple):
    """At least one image of the same size; `delays_ms` has one for each, `loop` 0 is for ever."""

    images: list[pyvips.Image]
    delays_ms: list[int]
    loop: int
    damaged: bool = False


class _Source(NamedTuple):
    """`data` in the place of the file at `path`, when it had to be mended first."""

    path: str
    tagged: bool
    translucent: bool
    data: bytes | None = None


Reader = Callable[[_Source, Size, dict[str, Any]], Frames]


def decode(source: str, size: Size, found: dict[str, Any], *, moving: bool, show_damaged: bool = False) -> Frames:
    """`size` is that of the upright picture, at most its own; `found` is its probe. Raises MediaError."""
    reader = _read_all if moving and found["frames"] > 1 else _read_one
    tagged = bool(found["icc"]) or found["colour_space"] == "cmyk"
    file = _Source(source, tagged, found["alpha"])
    try:
        if found["format"] == "jpeg":
            return _read_jpeg(reader, file, size)
        return _attempt(reader, file, size, FAIL_ON)
    except MediaError as refused:
        if not show_damaged or refused.code not in ("truncated", "corrupt"):
            raise
    return _attempt(reader, file, size, "none")._replace(damaged=True)


def _read_jpeg(reader: Reader, file: _Source, size: Size) -> Frames:
    try:
        return _attempt(reader, file, size, JPEG_FAIL_ON)
    except MediaError as refused:
        said = refused.message.lower()
        if any(phrase in said for phrase in _HARMLESS):
            return _attempt(reader, file, size, FAIL_ON)
        data = Path(file.path).read_bytes()
        if refused.code != "truncated" or data.endswith(JPEG_END):
            raise
    return _attempt(reader, file._replace(data=data + JPEG_END), size, JPEG_FAIL_ON)


def _attempt(reader: Reader, file: _Source, size: Size, fail_on: str) -> Frames:
    # Without a profile the pixels are sRGB already; to transform them all the same doubled the cost of the decode.
    profile = {"output_profile": "srgb", "intent": "perceptual"} if file.tagged else {}
    with refusing(file.path):
        return reader(file, size, {"fail_on": fail_on, **profile})


def _read_one(file: _Source, size: Size, how: dict[str, Any]) -> Frames:
    if file.translucent or file.data is not None:  # not thumbnail_buffer, which forgets `fail_on`
        image = _reduced(file, _opened(file, how), size, how)
    else:
        image = pyvips.Image.thumbnail(file.path, size.width, height=size.height, size="force", **how)
    return Frames([_plain(image)], [0], 0)


def _read_all(file: _Source, size: Size, how: dict[str, Any]) -> Frames:
    """Frame by frame, in the order of the file: only one is held at its full size."""
    strip = _opened(file, how, n=-1)
    high = strip.get_page_height()
    count = strip.height // high
    frames = (strip.crop(0, at * high, strip.width, high) for at in range(count))
    images = [_plain(_reduced(file, frame, size, how)) for frame in frames]
    delays = [int(delay) for delay in strip.get("delay")] if strip.get_typeof("delay") else []
    loop = int(strip.get("loop")) if strip.get_typeof("loop") else 0
    return Frames(images, (delays + [100] * count)[:count], loop)


def _opened(file: _Source, how: dict[str, Any], **more: Any) -> pyvips.Image:
    more |= {"access": "sequential", "fail_on": how["fail_on"]}
    if file.data is not None:
        return pyvips.Image.new_from_buffer(file.data, "", **more)
    return pyvips.Image.new_from_file(file.path, **more)


def _reduced(file: _Source, image: pyvips.Image, size: Size, how: dict[str, Any]) -> pyvips.Image:
    """Upright, in sRGB, of that size. What is translucent has it before libvips turns it and sees to its colours."""
    if file.translucent:
        sideways = image.get_typeof("orientation") and image.get("orientation") in SIDEWAYS
        image = scaled(image, Size(size.height, size.width) if sideways else size)
    return image.thumbnail_image(size.width, height=size.height, size="force", **how)


def _plain(image: pyvips.Image) -> pyvips.Image:
    """In memory, sRGB of 8 bits, 3 bands or 4."""
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    if image.format != "uchar":
        image = image.cast("uchar")
    return image.copy_memory()
