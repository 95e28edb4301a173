"""Real files for the image tests, made by libvips in the test process."""

import shutil
from pathlib import Path

import pyvips

PHOTO = Path(__file__).parents[3] / "holdfast" / "demo" / "photo.jpg"


def photo(folder):
    """The demo's photo where a slot may read it: the checkout need not be such a place."""
    return str(shutil.copy(PHOTO, folder / "photo"))


def noise(width, height):
    """Something that compresses badly, in colour."""
    bands = [pyvips.Image.gaussnoise(width, height, mean=128, sigma=40, seed=seed) for seed in (1, 2, 3)]
    return bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb")


def save(path, image, suffix):
    """Write in the format of `suffix` under a name that says nothing."""
    path.write_bytes(image.write_to_buffer(suffix))
    return str(path)


def halves(width, height):
    """Left half red, right half blue."""
    half = pyvips.Image.black(width // 2, height)
    red, blue = half.linear(1, [220, 20, 20]), half.linear(1, [20, 20, 220])
    return red.join(blue, "horizontal").cast("uchar").copy(interpretation="srgb")


def animation(path, frames, side=16):
    # libvips joins frames that look alike
    colours = [[n * 97 % 256, n * 61 % 256, n * 151 % 256] for n in range(frames)]
    pages = [pyvips.Image.black(side, side, bands=3).linear(1, colour) for colour in colours]
    strip = pyvips.Image.arrayjoin(pages, across=1).cast("uchar").copy(interpretation="srgb").copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", side)
    return save(path, strip, f".gif[page_height={side}]")
