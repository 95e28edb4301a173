"""What a media slot can do. The one module that a forker imports; it brings libvips with it."""

import pyvips

from services.media import probe
from services.media.images import FAIL_ON, make_renditions
from services.media.slot import Task

TASKS: dict[str, Task] = {"renditions": make_renditions, "probe": probe.probe}


def preload() -> None:
    """In the forker: settings and type information, but no pipeline. A fork after libvips' threads ran would hang."""
    probe.set_up()
    for operation in ("jpegload", "thumbnail", "thumbnail_image", "webpsave", "webpsave_buffer", "copy"):
        pyvips.Introspect.get(operation)


def warm_up() -> None:
    """In each slot: one tiny round, so that the first call pays nothing and the memory limit has a known floor."""
    tiny = pyvips.Image.black(64, 64, bands=3).copy(interpretation="srgb").jpegsave_buffer()
    pyvips.Image.thumbnail_buffer(tiny, 32, output_profile="srgb", fail_on=FAIL_ON).webpsave_buffer(effort=0)
