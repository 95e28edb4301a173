"""What a picture is, read from its header by libvips, before anything is decoded. Runs only inside a slot.

Owns libvips' settings and the list of formats that it may open. Invariant: the type is what the content says; names
count for nothing. Refuses what is over the limits, and every loader but five (libvips can load SVG, PDF, Magick, …).
A header can be hostile too (2.2 s for a 2 MB WebP of 50,000 frames), hence a slot and a timeout for probing as well.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyvips

from services.media.errors import MediaError
from services.media.limits import Limits
from services.media.pictures.exif import EXIF_FIELDS, safe_facts
from services.media.pictures.webp_head import HEAD_BYTES, webp_size

LOADERS = ("Jpeg", "Png", "Webp", "Nsgif", "Heif")
FORMATS = {"jpegload": "jpeg", "pngload": "png", "webpload": "webp", "gifload": "gif", "heifload": "heif"}
SIDEWAYS = range(5, 9)
"""EXIF orientations that swap width and height."""
EIGHT_BITS = 8
_BITS = {"uchar": EIGHT_BITS, "ushort": 16}

# libvips has no error codes, only text; these phrases are its decoders' words for the same few things.
_UNKNOWN = ("not a known", "not in a known format", "operation is blocked")
_UNSUPPORTED = ("unsupported", "not supported", "not implemented")
_TRUNCATED = ("premature end", "truncat", "end of stream", "end of file", "unexpected end", "not enough")
_SECURITY = "security limit exceeded"  # of a decoder's own, which says it is short of memory
_MEMORY = ("out of memory", "unable to allocate", "memory allocation", "cannot allocate", "failed to allocate")


def set_up() -> None:
    """Close every loader, open five, and switch the cache off (it returned a stale image for a rewritten path)."""
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{loader}", False)
    pyvips.cache_set_max(0)


def probe(source: str, limits: dict[str, Any] | None = None, *, moving: bool = True) -> dict[str, Any]:
    """{kind, format, width, height (as shown: upright), frames, colour_space, bits, orientation, alpha, icc, camera,
    size_bytes}; `camera` is exif.safe_facts. With `moving` the limits hold for all frames, else for the first.

    Raises MediaError: no_such_file, unsupported_format, truncated, corrupt, too_many_bytes | pixels | frames.
    """
    bounds = Limits.parse(limits or {}).image
    try:
        size_bytes = os.stat(source).st_size  # noqa: PTH116 - a string from JSON, used once
    except OSError as error:
        raise MediaError("there is no file to read", code="no_such_file") from error
    bounds.check_size(size_bytes)
    if "[" in source:
        raise ValueError("libvips reads options after a bracket: paths are server-made and have none")
    with Path(source).open("rb") as file:
        claimed = webp_size(file.read(HEAD_BYTES))
    if claimed is not None:
        bounds.check_shape(*claimed, 1)
    with refusing(source):
        image = pyvips.Image.new_from_file(source, access="sequential")
        kind = _format(image)
        frames = _number(image, "n-pages", 1) if kind in ("gif", "webp") else 1
        height = _number(image, "page-height", image.height)
        bounds.check_shape(image.width, height, frames if moving else 1)
        return {"kind": "image", "format": kind, "frames": frames, "size_bytes": size_bytes, **_facts(image, height)}


@contextmanager
def refusing(source: str) -> Iterator[None]:
    """What libvips raises becomes MediaError, in words about this file: those before it are forgotten."""
    pyvips.vips_lib.vips_error_clear()  # decoders remark on good files too, and the buffer of it all has an end
    try:
        yield
    except pyvips.Error as error:
        raise refusal(str(error), source) from error
    except UnicodeDecodeError as error:  # pyvips takes the words for UTF-8, but they may quote the file
        pyvips.vips_lib.vips_error_clear()
        raise refusal(error.object.decode("utf-8", "replace"), source) from error


def refusal(words: str, source: str) -> MediaError:
    """Put libvips' text into one of the codes of MediaError; its own words go along, shortened and without the path."""
    lines = words.replace(source, "file").splitlines()
    if words.endswith("..."):  # the buffer is full, and what it cut may be a path
        lines.pop()
    lines = [line for line in lines if "bad seek" not in line]  # HEIF's noise
    words = "".join(char if char.isprintable() else "?" for char in " ".join(" ".join(lines).split()))[:200]
    text = words.lower()
    if any(phrase in text for phrase in _MEMORY) and _SECURITY not in text:
        return MediaError(f"the image needs more memory than a slot has ({words})", code="out_of_memory")
    if any(phrase in text for phrase in _TRUNCATED):
        return MediaError(f"the image ends too early ({words})", code="truncated")
    if any(phrase in text for phrase in _UNKNOWN):
        return MediaError("the content is none of JPEG, PNG, WebP, GIF, AVIF", code="unsupported_format")
    if any(phrase in text for phrase in _UNSUPPORTED):
        return MediaError(f"the image is of a kind that is not taken ({words})", code="unsupported_format")
    return MediaError(f"the image cannot be decoded ({words})", code="corrupt")


def _facts(image: pyvips.Image, height: int) -> dict[str, Any]:
    orientation = _number(image, "orientation", 1)
    orientation = orientation if 1 <= orientation < SIDEWAYS.stop else 1
    shown = (height, image.width) if orientation in SIDEWAYS else (image.width, height)
    exif = {name: _text(image, name) for name in EXIF_FIELDS}
    return {
        "width": shown[0],
        "height": shown[1],
        "colour_space": str(image.interpretation),
        "bits": _number(image, "bits-per-sample", _BITS.get(str(image.format), EIGHT_BITS)),
        "orientation": orientation,
        "alpha": bool(image.hasalpha()),
        "icc": image.get_typeof("icc-profile-data") != 0,
        "camera": safe_facts(exif),
    }


def _format(image: pyvips.Image) -> str:
    loader = str(image.get("vips-loader")) if image.get_typeof("vips-loader") else ""
    name = FORMATS.get(loader.removesuffix("_source").removesuffix("_buffer"), loader)
    if name != "heif":
        return name
    codec = str(image.get("heif-compression")) if image.get_typeof("heif-compression") else "unknown"
    if codec != "av1":  # HEVC has no decoder here: its patents are not ours to give
        words = f"the file is HEIF with {codec}, such as HEIC; taken are JPEG, PNG, WebP, GIF, AVIF"
        raise MediaError(words, code="unsupported_format")
    return "avif"


def _text(image: pyvips.Image, field: str) -> str:
    try:
        return str(image.get(field)) if image.get_typeof(field) else ""
    except UnicodeDecodeError:  # whatever a camera writes
        return ""


def _number(image: pyvips.Image, field: str, default: int) -> int:
    return int(image.get(field)) if image.get_typeof(field) else default
