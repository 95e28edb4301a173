"""Renditions of one picture: paths in, paths out. Runs only inside a slot.

Invariants: one decode whatever the number of presets; a file in the directory is whole (written under another name,
then renamed); no rendition carries metadata (EXIF, GPS, XMP, colour profile), which is why orientation and colour are
applied to the pixels first. Refuses what `probe` refuses, and files that end early or are damaged. Of an animation
the first frame is used.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import pyvips

from services.media.presets import Preset
from services.media.probe import probe, refusal
from services.media.reporting import report

FAIL_ON = "error"
"""Damage as well as truncation: libjpeg would fill the rest of a picture with grey and carry on."""

DECODED, MADE = 0.4, 0.9  # of the whole; then the renditions are stored


def make_renditions(
    source: str,
    directory: str,
    presets: list[dict[str, Any]],
    limits: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """{probe, renditions: [{name, width, height, format, size_bytes, sha256, path}]}, in the order of the presets.

    A rendition is `directory/<name>.<format>`. Raises MediaError.
    """
    found = probe(source, limits)
    report(0.1, "probed")
    chosen = [Preset(**preset) for preset in presets]
    try:
        largest = _decode(source, max(p.width for p in chosen), max(p.height for p in chosen), tagged=_tagged(found))
        report(DECODED, "decoded")
        made = []
        for number, preset in enumerate(chosen, 1):
            made.append(_write(_fit(largest, preset), preset, Path(directory)))
            report(DECODED + (MADE - DECODED) * number / len(chosen), f"{preset.name} made")
    except pyvips.Error as error:
        raise refusal(error, source) from error
    return {"probe": found, "renditions": made}


def _tagged(found: dict[str, Any]) -> bool:
    return bool(found["icc"]) or found["colour_space"] == "cmyk"


def _decode(source: str, width: int, height: int, *, tagged: bool) -> pyvips.Image:
    # Without a profile the pixels are sRGB already; to transform them all the same doubled the cost of the decode.
    profile = {"output_profile": "srgb", "intent": "perceptual"} if tagged else {}
    return pyvips.Image.thumbnail(source, width, height=height, size="down", fail_on=FAIL_ON, **profile).copy_memory()


def _fit(image: pyvips.Image, preset: Preset) -> pyvips.Image:
    if image.width <= preset.width and image.height <= preset.height:
        return image
    return image.thumbnail_image(preset.width, height=preset.height, size="down")


def _write(image: pyvips.Image, preset: Preset, directory: Path) -> dict[str, Any]:
    path = directory / f"{preset.name}.{preset.format}"
    unfinished = directory / f".{preset.name}.{os.getpid()}.part"
    try:
        data = image.webpsave_buffer(Q=preset.quality, effort=preset.effort, keep="none")
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return {
        "name": preset.name,
        "width": image.width,
        "height": image.height,
        "format": preset.format,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "path": str(path),
    }
