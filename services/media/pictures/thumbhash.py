"""ThumbHash: a picture in about 25 bytes, to be shown while the real one loads (https://evanw.github.io/thumbhash/).

Owns the encoder, in plain Python on at most 100 x 100 pixels; a cosine transform by rows and then by columns, which is
a twentieth of the work of the reference's double loop and gives the same numbers. Pure.
"""

import math
from operator import mul
from typing import NamedTuple

SIDE_MAX_PX = 100
_OPAQUE = 255
_NOISE = 1e-9  # what adding up in floating point leaves of an even surface


class Channel(NamedTuple):
    """The mean, the other terms of the transform from -1 to 1, and what these were divided by."""

    mean: float
    terms: list[float]
    scale: float


def thumbhash(width: int, height: int, rgba: bytes) -> bytes:
    """`rgba` holds width x height pixels of 4 bytes, not premultiplied. Raises ValueError above 100 x 100."""
    if not (0 < width <= SIDE_MAX_PX and 0 < height <= SIDE_MAX_PX) or len(rgba) != 4 * width * height:
        raise ValueError(f"{len(rgba)} bytes are no picture of {width} x {height}, or it is above {SIDE_MAX_PX} px")
    has_alpha = min(rgba[3::4]) < _OPAQUE
    luminance, yellow_blue, red_green, alpha = _opponents(rgba)
    most = 5 if has_alpha else 7
    longest = max(width, height)
    across = max(1, _round(most * width / longest))
    down = max(1, _round(most * height / longest))
    light = _transform(luminance, width, height, max(3, across), max(3, down))
    p = _transform(yellow_blue, width, height, 3, 3)
    q = _transform(red_green, width, height, 3, 3)
    opacity = _transform(alpha, width, height, 5, 5) if has_alpha else None
    landscape = width > height
    head = _round(63 * light.mean) | (_round(31.5 + 31.5 * p.mean) << 6) | (_round(31.5 + 31.5 * q.mean) << 12)
    head |= (_round(31 * light.scale) << 18) | (int(has_alpha) << 23)
    tail = (down if landscape else across) | (_round(63 * p.scale) << 3) | (_round(63 * q.scale) << 9)
    tail |= int(landscape) << 15
    hashed = head.to_bytes(3, "little") + tail.to_bytes(2, "little")
    if opacity is not None:
        hashed += bytes([_round(15 * opacity.mean) | (_round(15 * opacity.scale) << 4)])
    return hashed + _nibbles([channel.terms for channel in (light, p, q, opacity) if channel is not None])


def _opponents(rgba: bytes) -> tuple[list[float], list[float], list[float], list[float]]:
    """Luminance, yellow against blue, red against green, alpha; transparent pixels show the average colour."""
    alphas = [value / _OPAQUE for value in rgba[3::4]]
    bands = [[value / _OPAQUE for value in rgba[at::4]] for at in range(3)]
    opaque = sum(alphas)
    averages = [sum(map(mul, band, alphas)) / opaque if opaque else 0.0 for band in bands]
    red, green, blue = (
        [average * (1 - a) + a * value for value, a in zip(band, alphas, strict=True)]
        for band, average in zip(bands, averages, strict=True)
    )
    pixels = list(zip(red, green, blue, strict=True))
    return (
        [(r + g + b) / 3 for r, g, b in pixels],
        [(r + g) / 2 - b for r, g, b in pixels],
        [r - g for r, g, _ in pixels],
        alphas,
    )


def _transform(values: list[float], width: int, height: int, across: int, down: int) -> Channel:
    along = [[math.cos(math.pi / width * cx * (x + 0.5)) for x in range(width)] for cx in range(across)]
    upright = [[math.cos(math.pi / height * cy * (y + 0.5)) for y in range(height)] for cy in range(down)]
    rows = [values[y * width : (y + 1) * width] for y in range(height)]
    folded = [[sum(map(mul, row, wave)) for row in rows] for wave in along]
    mean, terms = 0.0, []
    for cy in range(down):
        for cx in range(across):
            if cx * down >= across * (down - cy):
                break
            term = sum(map(mul, folded[cx], upright[cy])) / (width * height)
            if cx or cy:
                terms.append(term)
            else:
                mean = term
    scale = max(map(abs, terms), default=0.0)
    scale = 0.0 if scale < _NOISE else scale
    return Channel(mean, [0.5 + 0.5 / scale * term for term in terms] if scale else [0.0] * len(terms), scale)


def _nibbles(channels: list[list[float]]) -> bytes:
    values = [_round(15 * term) for terms in channels for term in terms]
    values += [0] * (len(values) % 2)
    return bytes(low | (high << 4) for low, high in zip(values[::2], values[1::2], strict=True))


def _round(value: float) -> int:
    """Halves go up, as in the reference."""
    return math.floor(value + 0.5)
