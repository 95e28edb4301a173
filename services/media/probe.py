"""What a file is, read from its header by libvips, before anything is decoded. Runs only inside a slot.

Owns libvips' settings and the list of formats that it may open. Invariant: the type is what the content says; names
count for nothing. Refuses what is over the limits, and every loader but five (libvips can load SVG, PDF, Magick, …).
A header can be hostile too (2.2 s for a 2 MB WebP of 50,000 frames), hence a slot and a timeout for probing as well.
"""

import os
from typing import Any

import pyvips

from services.media.errors import MediaError
from services.media.limits import ImageLimits

LOADERS = ("Jpeg", "Png", "Webp", "Nsgif", "Heif")
FORMATS = {"jpegload": "jpeg", "pngload": "png", "webpload": "webp", "gifload": "gif", "heifload": "heif"}
SIDEWAYS = range(5, 9)
"""EXIF orientations that swap width and height."""

# libvips has no error codes, only text; these phrases are its decoders' words for the same three things.
_UNSUPPORTED = ("not a known", "not in a known format", "unsupported", "operation is blocked")
_TRUNCATED = ("premature end", "truncat", "end of stream", "end of file", "unexpected end", "not enough")
_MEMORY = ("out of memory", "unable to allocate", "memory allocation", "cannot allocate")


def set_up() -> None:
    """Close every loader, open five, and switch the cache off (it returned a stale image for a rewritten path)."""
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{loader}", False)
    pyvips.cache_set_max(0)


def probe(source: str, limits: dict[str, Any] | None = None) -> dict[str, Any]:
    """{format, width, height (as shown: turned upright), frames, colour_space, orientation, alpha, icc, size_bytes}.

    Raises MediaError: no_such_file, unsupported_format, truncated, corrupt, too_many_bytes | pixels | frames.
    """
    bounds = ImageLimits(**(limits or {}))
    try:
        size_bytes = os.stat(source).st_size  # noqa: PTH116 - a string from JSON, used once
    except OSError as error:
        raise MediaError("there is no file to read", code="no_such_file") from error
    bounds.check_size(size_bytes)
    if "[" in source:
        raise ValueError("libvips reads options after a bracket: paths are server-made and have none")
    try:
        image = pyvips.Image.new_from_file(source, access="sequential")
    except pyvips.Error as error:
        raise refusal(error, source) from error
    frames = _number(image, "n-pages", 1)
    height = _number(image, "page-height", image.height)
    bounds.check_shape(image.width, height, frames)
    orientation = _number(image, "orientation", 1)
    shown = (height, image.width) if orientation in SIDEWAYS else (image.width, height)
    return {
        "format": _format(image),
        "width": shown[0],
        "height": shown[1],
        "frames": frames,
        "colour_space": str(image.interpretation),
        "orientation": orientation,
        "alpha": bool(image.hasalpha()),
        "icc": image.get_typeof("icc-profile-data") != 0,
        "size_bytes": size_bytes,
    }


def refusal(error: Exception, source: str) -> MediaError:
    """Put libvips' text into one of the codes of MediaError; its own words go along, shortened and without the path."""
    lines = [line for line in str(error).replace(source, "file").splitlines() if "bad seek" not in line]  # HEIF's noise
    words = " ".join(" ".join(lines).split())[:200]
    text = words.lower()
    if any(phrase in text for phrase in _MEMORY):
        return MediaError(f"the image needs more memory than a slot has ({words})", code="out_of_memory")
    if any(phrase in text for phrase in _TRUNCATED):
        return MediaError(f"the image ends too early ({words})", code="truncated")
    if any(phrase in text for phrase in _UNSUPPORTED):
        return MediaError("the content is none of JPEG, PNG, WebP, GIF, AVIF", code="unsupported_format")
    return MediaError(f"the image cannot be decoded ({words})", code="corrupt")


def _format(image: pyvips.Image) -> str:
    loader = str(image.get("vips-loader")) if image.get_typeof("vips-loader") else ""
    name = FORMATS.get(loader.removesuffix("_source").removesuffix("_buffer"), loader)
    if name == "heif" and image.get_typeof("heif-compression"):
        return "avif" if image.get("heif-compression") == "av1" else "heic"
    return name


def _number(image: pyvips.Image, field: str, default: int) -> int:
    return int(image.get(field)) if image.get_typeof(field) else default
