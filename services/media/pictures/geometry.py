"""How large a rendition is and what it shows of its picture: whole numbers, pure, before anything is decoded.

Invariants: `scaled` is never larger than the picture, so that what a decoder is asked for is bounded by the pixels of
the file; proportions are kept to within a pixel; no side is 0 or above SIDE_MAX_PX.
"""

from collections.abc import Iterable
from typing import NamedTuple

from services.media.presets import SIDE_MAX_PX, Preset


class Size(NamedTuple):
    width: int
    height: int


class Plan(NamedTuple):
    """The whole picture is reduced to `scaled`; `cut` of it is taken; that becomes `size`, on a canvas of `canvas`."""

    scaled: Size
    cut: Size
    size: Size
    canvas: Size


def plan(preset: Preset, picture: Size) -> Plan:
    """`picture` is upright."""
    box = Size(preset.width or SIDE_MAX_PX, preset.height or SIDE_MAX_PX)
    return _cover(box, picture, enlarge=preset.enlarge) if preset.fit == "cover" else _whole(preset, box, picture)


def largest(plans: Iterable[Plan]) -> Size:
    """What to decode once for all of them."""
    scaled = [one.scaled for one in plans]
    return Size(max(size.width for size in scaled), max(size.height for size in scaled))


def corner(point: tuple[float, float], scaled: Size, cut: Size) -> tuple[int, int]:
    """Left and top of a cut that has the point (in fractions) as near to its middle as the edges allow."""
    left = round(point[0] * scaled.width - cut.width / 2)
    top = round(point[1] * scaled.height - cut.height / 2)
    return max(0, min(left, scaled.width - cut.width)), max(0, min(top, scaled.height - cut.height))


def _whole(preset: Preset, box: Size, picture: Size) -> Plan:
    scale = min(box.width / picture.width, box.height / picture.height)
    scaled = _times(picture, min(scale, 1.0), most=box)
    size = _times(picture, scale, most=box) if preset.enlarge else scaled
    return Plan(scaled, scaled, size, box if preset.fit == "contain" else size)


def _cover(box: Size, picture: Size, *, enlarge: bool) -> Plan:
    scale = max(box.width / picture.width, box.height / picture.height)
    if scale <= 1:
        scaled = Size(*(max(least, side) for least, side in zip(box, _times(picture, scale), strict=True)))
        return Plan(scaled, box, box, box)
    cut = _times(box, 1 / scale, most=picture)
    return Plan(picture, cut, box, box) if enlarge else Plan(picture, cut, cut, cut)


def _times(size: Size, scale: float, *, most: Size | None = None) -> Size:
    width, height = max(1, round(size.width * scale)), max(1, round(size.height * scale))
    return Size(width, height) if most is None else Size(min(width, most.width), min(height, most.height))
