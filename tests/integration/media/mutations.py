"""Good pictures of every format, small, and seeded damage to them: the same seed makes the same file."""

import functools
import random

import pyvips

from tests.integration.media import crafted, pictures

SIDE = 40
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@functools.cache
def good():
    """Bytes by name. Pictures of many colours, with everything in them that a format can hold."""
    noise = pictures.noise(SIDE, SIDE)
    clear = noise.bandjoin(pyvips.Image.black(SIDE // 2, SIDE).join(_white(SIDE // 2, SIDE), "horizontal"))
    laden = (
        pyvips.Image.new_from_file(str(pictures.PHOTO)).resize(0.03).icc_transform("p3", input_profile="srgb").copy()
    )
    laden.set_type(pyvips.GValue.blob_type, "xmp-data", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>" * 9)
    cmyk = noise.icc_transform("cmyk", input_profile="srgb")
    grey = noise.colourspace("b-w")
    tile = pictures.noise(64, 64).heifsave_buffer(compression="av1", effort=0, keep="none")
    gif = crafted.gif(20, 10, [(0, 0, 20, 10, 0, 1), (5, 2, 4, 4, 1, 2), (10, 2, 4, 4, 2, 3), (0, 0, 2, 2, 1, 1)])
    return {
        "jpeg": noise.jpegsave_buffer(), "jpeg progressive": laden.jpegsave_buffer(interlace=True),
        "jpeg restarts": noise.jpegsave_buffer(restart_interval=2, subsample_mode="off"),
        "jpeg cmyk": cmyk.jpegsave_buffer(), "jpeg grey": grey.jpegsave_buffer(),
        "png": laden.pngsave_buffer(), "png alpha": clear.pngsave_buffer(interlace=True),
        "png 16": noise.colourspace("rgb16").pngsave_buffer(), "png palette": clear.pngsave_buffer(palette=True),
        "png grey 1": grey.pngsave_buffer(bitdepth=1, interlace=True),
        "webp": laden.webpsave_buffer(), "webp lossless": clear.webpsave_buffer(lossless=True),
        "webp alpha": clear.webpsave_buffer(), "webp animated": _moving(noise).webpsave_buffer(),
        "gif": noise.gifsave_buffer(), "gif animated": _moving(clear).gifsave_buffer(), "gif odd": gif,
        "avif": laden.heifsave_buffer(compression="av1", effort=0),
        "avif alpha": clear.heifsave_buffer(compression="av1", effort=0, bitdepth=10),
        "avif grid": crafted.avif_grid(tile, 64, 2, 2),
    }  # fmt: skip


def damaged(data, seed, others=()):
    """One of the ways in which a file goes wrong by chance, by haste or by intent, or up to four of them."""
    rng = random.Random(seed)
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(_WAYS)(rng, found, others)
    return bytes(found)


def _white(width, height):
    return (pyvips.Image.black(width, height) + 255).cast("uchar")


def _moving(image):
    strip = pyvips.Image.arrayjoin([image, image.rot180(), image.invert()], across=1).copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", SIDE)
    strip.set_type(pyvips.GValue.array_int_type, "delay", [50, 60, 70])
    return strip


def _where(rng, data):
    """Headers decide about more than pixels do."""
    return rng.randrange(min(len(data), 400) if rng.random() < 0.6 else len(data)) if data else 0


def _flip(rng, data, _):
    for _ in range(rng.choice((1, 1, 3, 20))):
        if data:
            data[_where(rng, data)] ^= 1 << rng.randrange(8)


def _set(rng, data, _):
    if data:
        data[_where(rng, data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(rng, data, _):
    at, width = _where(rng, data), rng.choice((1, 2, 4))
    value = rng.choice(_INTERESTING) & ((1 << (8 * width)) - 1)
    data[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))


def _cut(rng, data, _):
    del data[rng.randrange(len(data) + 1) :]


def _drop(rng, data, _):
    at = _where(rng, data)
    del data[at : at + rng.choice((1, 2, 7, 64, 900))]


def _double(rng, data, _):
    at, size = _where(rng, data), rng.choice((1, 4, 12, 100, 2000))
    data[at:at] = data[at : at + size] * rng.choice((1, 1, 8))


def _insert(rng, data, _):
    at = _where(rng, data)
    data[at:at] = rng.randbytes(rng.choice((1, 3, 40, 3000)))


def _blank(rng, data, _):
    at, size = _where(rng, data), rng.choice((2, 8, 64, 500))
    data[at : at + size] = bytes([rng.choice((0, 0xFF))]) * len(data[at : at + size])


def _swap(rng, data, _):
    first, second, size = _where(rng, data), _where(rng, data), rng.choice((1, 4, 16))
    data[first : first + size], data[second : second + size] = data[second : second + size], data[first : first + size]


def _splice(rng, data, others):
    """The start of one, the end of another; a polyglot when they are of two formats."""
    if others:
        other = rng.choice(others)
        data[_where(rng, data) :] = other[rng.randrange(len(other)) :]


_WAYS = (_flip, _flip, _set, _number, _number, _cut, _drop, _double, _insert, _blank, _swap, _splice)
