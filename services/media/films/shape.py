"""How large a video is shown and made, and how its frames are turned for it. Pure."""

import math
import struct
from fractions import Fraction

Filter = tuple[str, str]
"""The name of a filter of libavfilter and its arguments."""

PIXEL_MIN, PIXEL_MAX = Fraction(1, 8), Fraction(8)
"""Proportions of a pixel beyond these are damage, and taken as square."""


def turns_of(matrix: bytes | None) -> tuple[Filter, ...]:
    """The filters that show a frame with this display matrix (nine 32-bit numbers) upright, as players do it."""
    if matrix is None or len(matrix) < 36:
        return ()
    m = struct.unpack("=9i", matrix[:36])
    across, down = math.hypot(m[0], m[3]), math.hypot(m[1], m[4])
    if not across or not down:
        return ()
    degrees = round(math.degrees(math.atan2(m[1] / down, m[0] / across))) % 360
    quarter = round(degrees / 90) % 4  # an angle in between is shown at the nearest quarter
    if quarter == 1:
        return (("transpose", "cclock_flip" if m[3] > 0 else "clock"),)
    if quarter == 3:
        return (("transpose", "clock_flip" if m[3] < 0 else "cclock"),)
    if quarter == 2:
        return (*((("hflip", ""),) if m[0] < 0 else ()), *((("vflip", ""),) if m[4] < 0 else ()))
    return (("vflip", ""),) if m[4] < 0 else ()


def is_sideways(turns: tuple[Filter, ...]) -> bool:
    return any(name == "transpose" for name, _ in turns)


def rotation_of(turns: tuple[Filter, ...]) -> int:
    """Clockwise degrees, for people; a mirrored one counts as the turn that it includes."""
    if is_sideways(turns):
        return 270 if turns[0][1].startswith("cclock") else 90
    return 180 if len(turns) == 2 else 0


def shown_size(width: int, height: int, pixel: Fraction | None, turns: tuple[Filter, ...]) -> tuple[int, int]:
    """In square pixels, upright. What is not square is made so by stretching its shorter side, as players do."""
    if pixel and PIXEL_MIN <= pixel <= PIXEL_MAX:
        if pixel > 1:
            width = max(1, round(width * pixel))
        else:
            height = max(1, round(height / pixel))
    return (height, width) if is_sideways(turns) else (width, height)


def fitted(shown: tuple[int, int], box: tuple[int, int], *, even: bool = True) -> tuple[int, int]:
    """The largest size with the proportions of `shown` in the box, turned if need be; never larger than `shown`."""
    width, height = shown
    long, short = max(box), min(box)
    across, down = (short, long) if height > width else (long, short)
    scale = min(Fraction(1), Fraction(across, width), Fraction(down, height))
    if not even:
        return max(1, round(width * scale)), max(1, round(height * scale))
    return _even(width * scale, min(across, width)), _even(height * scale, min(down, height))


def _even(side: Fraction, most: int) -> int:
    return max(2, min(2 * round(side / 2), most // 2 * 2))
