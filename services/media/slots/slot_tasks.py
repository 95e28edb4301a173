"""What a media slot can do. The one module that a forker imports; it brings libvips and libav with it."""

from typing import Any

import pyvips

from services.media import probe
from services.media.films import film, sound
from services.media.pictures import images
from services.media.pictures.decoding import FAIL_ON
from services.media.slots.slot import Task
from services.media.sniffing.file import recognise_file

MAKERS: dict[str, Task] = {
    "image": images.make_renditions,
    "video": film.make_renditions,
    "audio": sound.make_renditions,
}


def make_renditions(
    source: str, directory: str, presets: dict[str, Any], limits: dict[str, Any] | None = None
) -> dict[str, Any]:
    """By what the first bytes are; the kind of what was found is in the probe. Raises MediaError."""
    make = MAKERS[recognise_file(source).kind]
    return make(source=source, directory=directory, presets=presets, limits=limits)


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
