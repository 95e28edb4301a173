"""From pixels to the bytes of a rendition. Invariant: nothing but pixels and timing goes in, whatever the format.

No EXIF, GPS, XMP, IPTC or colour profile: the pixels are sRGB, which is what a picture without a profile is taken for.
"""

from typing import Any

import pyvips

from services.media.presets import Preset

LOSSLESS, ROUGH = 100, 50


def encode(image: pyvips.Image, preset: Preset) -> bytes:
    """Raises pyvips.Error."""
    quality = preset.quality if preset.quality is not None else preset.encoder.quality
    usual = preset.encoder.moving_effort if image.get_n_pages() > 1 else preset.encoder.effort
    effort = preset.effort if preset.effort is not None else usual
    data: bytes = _SAVERS[preset.format](image, quality, effort, preset.lossless)
    return data


def _webp(image: pyvips.Image, quality: int, effort: int, lossless: bool) -> Any:
    return image.webpsave_buffer(Q=quality, effort=effort, lossless=lossless, keep="none")


def _avif(image: pyvips.Image, quality: int, effort: int, lossless: bool) -> Any:
    return image.heifsave_buffer(
        compression="av1", Q=quality, effort=effort, lossless=lossless, bitdepth=8, keep="none"
    )


def _jpeg(image: pyvips.Image, quality: int, effort: int, lossless: bool) -> Any:  # noqa: ARG001 - never
    careful = {"trellis_quant": True, "overshoot_deringing": True, "optimize_scans": True} if effort > 1 else {}
    progressive = effort > 0
    return image.jpegsave_buffer(Q=quality, optimize_coding=progressive, interlace=progressive, keep="none", **careful)


def _png(image: pyvips.Image, quality: int, effort: int, lossless: bool) -> Any:  # noqa: ARG001 - always
    palette = {"palette": True, "Q": quality, "bitdepth": 8 if quality >= ROUGH else 4} if quality < LOSSLESS else {}
    return image.pngsave_buffer(compression=effort, keep="none", **palette)


_SAVERS = {"webp": _webp, "avif": _avif, "jpeg": _jpeg, "png": _png}
