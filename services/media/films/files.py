"""The files that a film or a sound becomes: written whole or not at all, and described in the answer of the slot."""

import os
from pathlib import Path
from typing import Any

from services.media.films.presets import AudioPreset, VideoPreset

KINDS = {"webp": "image", "jpeg": "image", "mp4": "video", "m4a": "audio", "json": "peaks"}


def path_of(preset: VideoPreset | AudioPreset, directory: str) -> Path:
    return Path(directory) / f"{preset.name}.{preset.format}"


def write_whole(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def described(preset: VideoPreset | AudioPreset, path: Path, **more: Any) -> dict[str, Any]:
    """{name, kind, format, content_type, …, size_bytes, path}; `more` is width, height, duration_s."""
    return {
        "name": preset.name,
        "kind": KINDS[str(preset.format)],
        "format": preset.format,
        "content_type": preset.content_type,
        **more,
        "size_bytes": path.stat().st_size,
        "path": str(path),
    }
