"""From decoded frames to the frames of one rendition: reduced, cut, put on a canvas. Of an animation, all alike.

Invariant: every frame is cut at the same place, the one that suits the first; a frame never bleeds into the next.
"""

import pyvips

from services.media.pictures.decoding import Frames
from services.media.pictures.geometry import Plan, Size, corner
from services.media.presets import Preset
from services.media.scaling import flattened, resized

LOOK_PX = 512  # a smart crop looks at a reduced copy: its answer is the same, its time is bounded
CLEAR = [0, 0, 0, 0]
_OPAQUE = 255


def render(frames: Frames, preset: Preset, plan: Plan) -> Frames:
    """All frames when the preset moves, else the first."""
    chosen = frames.images if preset.moves else frames.images[:1]
    at = _place(chosen[0], preset, plan)
    images = [_one(image, preset, plan, at) for image in chosen]
    return Frames(images, frames.delays_ms[: len(images)], frames.loop, frames.damaged)


def joined(frames: Frames) -> pyvips.Image:
    """One image for a saver; of several frames a strip that says how long each is shown."""
    if len(frames.images) == 1:
        return frames.images[0]
    strip = pyvips.Image.arrayjoin(frames.images, across=1).copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", frames.images[0].height)
    strip.set_type(pyvips.GValue.array_int_type, "delay", frames.delays_ms)
    strip.set_type(pyvips.GValue.gint_type, "loop", frames.loop)
    return strip


def _one(image: pyvips.Image, preset: Preset, plan: Plan, at: tuple[int, int]) -> pyvips.Image:
    image = resized(image, plan.scaled)
    if plan.cut != plan.scaled:
        image = image.crop(*at, *plan.cut)
    image = resized(image, plan.size)
    backdrop = preset.backdrop
    if backdrop is not None and image.hasalpha():
        image = flattened(image, backdrop)
    if plan.canvas == plan.size:
        return image
    if backdrop is None and not image.hasalpha():
        image = image.bandjoin(_OPAQUE)
    left, top = (plan.canvas.width - plan.size.width) // 2, (plan.canvas.height - plan.size.height) // 2
    return image.embed(left, top, *plan.canvas, extend="background", background=list(backdrop or CLEAR))


def _place(image: pyvips.Image, preset: Preset, plan: Plan) -> tuple[int, int]:
    """Left and top of the cut in a picture of `plan.scaled`."""
    if plan.cut == plan.scaled:
        return 0, 0
    if isinstance(preset.focus, tuple):
        return corner(preset.focus, plan.scaled, plan.cut)
    if preset.focus == "centre":
        return corner((0.5, 0.5), plan.scaled, plan.cut)
    return corner(_middle(image, preset.focus, plan), plan.scaled, plan.cut)


def _middle(image: pyvips.Image, interesting: str, plan: Plan) -> tuple[float, float]:
    """Of the part that libvips finds interesting, in fractions of the picture."""
    scale = min(1.0, LOOK_PX / max(plan.scaled))
    look = Size(*(max(1, round(side * scale)) for side in plan.scaled))
    cut = Size(*(max(1, min(round(side * scale), most)) for side, most in zip(plan.cut, look, strict=True)))
    found = resized(image, look).copy_memory().smartcrop(*cut, interesting=interesting)  # it looks many times
    return (-found.xoffset + cut.width / 2) / look.width, (-found.yoffset + cut.height / 2) / look.height
