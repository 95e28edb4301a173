"""Renditions of one picture: paths in, paths out. Runs only inside a slot.

Invariants: one decode whatever the number of presets; a file in the directory is whole (written under another name,
then renamed); no rendition carries metadata (EXIF, GPS, XMP, colour profile), which is why orientation and colour are
applied to the pixels first. Refuses what `probe` and `decoding` refuse.
"""

import base64
import os
from pathlib import Path
from typing import Any

from services.media.limits import ImageLimits, Limits
from services.media.pictures.colour import dominant_colour
from services.media.pictures.decoding import Frames, decode
from services.media.pictures.encoding import encode
from services.media.pictures.geometry import Plan, Size, largest, plan
from services.media.pictures.rendering import joined, render
from services.media.pictures.thumbhash import thumbhash
from services.media.presets import Preset, PresetSet
from services.media.probe import probe, refusing
from services.media.scaling import resized
from services.media.slots.reporting import report

DECODED, MADE = 0.4, 0.9  # of the whole; then the renditions are stored
LOOK = Preset("look", 48, 48)
"""What thumbhash and the dominant colour are made from."""


def make_renditions(
    source: str,
    directory: str,
    presets: dict[str, Any],
    limits: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """{probe, renditions: [{name, kind, format, content_type, width, height, frames, size_bytes, path}]}, in
    the order of the set's presets for pictures; `presets` is PresetSet.wire(), `limits` Limits.wire().

    A rendition is `directory/<name>.<format>`. The probe has `thumbhash` (Base64), `dominant_colour` (`#rrggbb` or
    null) and `damaged` besides. Raises MediaError.
    """
    chosen = PresetSet.parse(presets)
    moving = any(preset.moves for preset in chosen.image)
    found = probe(source, limits, moving=moving)
    report(0.1, "probed")
    size = Size(found["width"], found["height"])
    plans = [plan(preset, size) for preset in chosen.image]
    _check_output(chosen.image, plans, found["frames"], Limits.parse(limits or {}).image)
    decoded_size = largest([*plans, plan(LOOK, size)])
    frames = decode(source, decoded_size, found, moving=moving, show_damaged=chosen.damaged == "show")
    report(DECODED, "decoded")
    with refusing(source):
        found |= {**_look(frames, size), "damaged": frames.damaged}
        made = []
        for number, (preset, planned) in enumerate(zip(chosen.image, plans, strict=True), 1):
            made.append(_write(render(frames, preset, planned), preset, Path(directory)))
            report(DECODED + (MADE - DECODED) * number / len(plans), f"{preset.name} made")
    return {"probe": found, "renditions": made}


def _check_output(presets: tuple[Preset, ...], plans: list[Plan], frames: int, bounds: ImageLimits) -> None:
    """What is to be enlarged can be a bomb that its file is not: one as an animation, or all of them together."""
    total = 0
    for preset, planned in zip(presets, plans, strict=True):
        shown = frames if preset.moves else 1
        if shown > 1:
            bounds.check_shape(*planned.canvas, shown, what=f"the rendition {preset.name}")
        total += planned.canvas.width * planned.canvas.height * shown
    bounds.check_output(total, len(plans))


def _look(frames: Frames, size: Size) -> dict[str, Any]:
    small = resized(frames.images[0], plan(LOOK, size).size)
    rgba = bytes((small if small.hasalpha() else small.bandjoin(255)).write_to_memory())
    hashed = thumbhash(small.width, small.height, rgba)
    return {"thumbhash": base64.b64encode(hashed).decode(), "dominant_colour": dominant_colour(rgba)}


def _write(frames: Frames, preset: Preset, directory: Path) -> dict[str, Any]:
    path = directory / f"{preset.name}.{preset.format}"
    unfinished = directory / f".{preset.name}.{os.getpid()}.part"
    try:
        data = encode(joined(frames), preset)
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return {
        "name": preset.name,
        "kind": "image",
        "format": preset.format,
        "content_type": preset.content_type,
        "width": frames.images[0].width,
        "height": frames.images[0].height,
        "frames": len(frames.images),
        "size_bytes": len(data),
        "path": str(path),
    }
