"""What of a camera's notes (EXIF) is safe to tell: when and how a picture was taken. Pure.

Invariant: only the fields listed here leave a file. Never where it was taken, by whom, the camera's serial number,
comments, or anything in a maker's own format. Texts are short and printable, numbers finite and positive.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

TEXT_MAX_CHARS = 64
_INSTANT = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)", re.ASCII)
_SHOWN = re.compile(r"(?P<told>.*) \((?P<raw>.*), (?P<type>\w+), \d+ components?, \d+ bytes?\)", re.DOTALL)


def safe_facts(fields: Mapping[str, str]) -> dict[str, Any]:
    """`fields` are libvips' `exif-ifd…` by name; what is missing or makes no sense is left out.

    {camera_make, camera_model, lens, taken_at (local time, ISO 8601), exposure_s, f_number, iso, focal_length_mm}
    """
    facts: dict[str, Any] = {}
    for name, (field, reading) in _FACTS.items():
        found = reading(_value(fields.get(field, "")))
        if found is not None:
            facts[name] = found
    return facts


def _value(shown: str) -> str:
    """Of `1/125 sec. (1/125, Rational, 1 components, 8 bytes)` the part before the type."""
    match = _SHOWN.fullmatch(shown)
    if match is None:
        return ""
    if match["type"] == "ASCII":  # a text stands there twice, and may hold brackets of its own
        whole = f"{match['told']} ({match['raw']}"
        half = (len(whole) - len(" (")) // 2
        return whole[:half] if whole == f"{whole[:half]} ({whole[:half]}" else match["raw"]
    return match["raw"]


def _text(value: str) -> str | None:
    kept = "".join(char for char in value if char.isprintable()).strip()[:TEXT_MAX_CHARS].strip()
    return kept or None


def _number(value: str) -> float | None:
    above, _, below = value.strip().partition("/")
    try:
        number = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return float(f"{number:.6g}") if math.isfinite(number) and number > 0 else None


def _whole(value: str) -> int | None:
    number = _number(re.split("[, ]", value, maxsplit=1)[0])
    return round(number) if number is not None else None


def _instant(value: str) -> str | None:
    found = _INSTANT.fullmatch(value.strip("\x00 "))  # not strptime, which imports a module when it is called
    try:
        return datetime(*map(int, found.groups())).isoformat() if found else None  # type: ignore[arg-type]  # noqa: DTZ001 - no zone is known
    except ValueError:
        return None


_FACTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "camera_make": ("exif-ifd0-Make", _text),
    "camera_model": ("exif-ifd0-Model", _text),
    "lens": ("exif-ifd2-LensModel", _text),
    "taken_at": ("exif-ifd2-DateTimeOriginal", _instant),
    "exposure_s": ("exif-ifd2-ExposureTime", _number),
    "f_number": ("exif-ifd2-FNumber", _number),
    "iso": ("exif-ifd2-ISOSpeedRatings", _whole),
    "focal_length_mm": ("exif-ifd2-FocalLength", _number),
}
EXIF_FIELDS = tuple(field for field, _ in _FACTS.values())
