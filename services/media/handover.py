"""What a slot says that it has made, heard as one hears a stranger: a file may have taken it over.

Owns which files leave a call's folder for the storage. Invariants: only regular files of that folder are opened, under
the names that the presets give them and through no link; their type, size and hash are found here; of what else was
said, only numbers and known words are kept. Refuses everything else with TaskFailed.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from services.media.blobs import Blobs
from services.media.errors import TaskFailed
from services.media.films.presets import FILM_CONTENT_TYPES
from services.media.presets import CONTENT_TYPES

TYPES: Final = CONTENT_TYPES | FILM_CONTENT_TYPES
KINDS: Final = ("image", "video", "audio")
_NUMBERS: Final = ("width", "height", "frames", "duration_s")


async def store_made(
    blobs: Blobs, keys: str, folder: Path, made: Mapping[str, Any], presets: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(probe, renditions with their `key` below `keys`) of a call whose folder and presets these are."""
    probe, items = made.get("probe"), made.get("renditions")
    if not isinstance(probe, dict) or probe.get("kind") not in KINDS or not isinstance(items, list):
        raise TaskFailed("the slot answered with no probe of a known kind, or no list of renditions")
    expected = {preset["name"] for kind in KINDS for preset in presets[kind]}
    kept: list[dict[str, Any]] = []
    for item in items:
        name, form = _checked(item, expected)
        expected.discard(name)
        key = f"{keys}/{name}.{form}"
        size_bytes, sha256 = await _store(blobs, key, folder / f"{name}.{form}")
        kept.append({**_said(item), "name": name, "format": form, "content_type": TYPES[form],
                     "size_bytes": size_bytes, "sha256": sha256, "key": key})  # fmt: skip
    return probe, kept


def names(kept: Sequence[Mapping[str, Any]]) -> list[str]:
    return [item["name"] for item in kept]


def _checked(item: Any, expected: set[str]) -> tuple[str, str]:
    name, form = (item.get("name"), item.get("format")) if isinstance(item, dict) else (None, None)
    if not isinstance(name, str) or name not in expected or not isinstance(form, str) or form not in TYPES:
        raise TaskFailed("the slot answered with a rendition that nobody has asked for")
    return name, form


def _said(item: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: item[name] for name in _NUMBERS if type(item.get(name)) in (int, float)}
    kind = item.get("kind")
    return {"kind": kind if kind in (*KINDS, "peaks") else "image", **numbers}


async def _store(blobs: Blobs, key: str, path: Path) -> tuple[int, str]:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as wrong:
        raise TaskFailed(f"the slot has not made {path.name}: {wrong.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise TaskFailed(f"the slot has made {path.name}, which is no file")
        found = Path(f"/proc/self/fd/{opened}")  # the file that was opened, whatever stands under its name by now
        sha256 = await asyncio.to_thread(_sha256, found)
        size_bytes = os.fstat(opened).st_size
        if await blobs.put_file(key, found) != size_bytes:
            raise TaskFailed(f"the slot has changed {path.name} after it had answered")
    finally:
        os.close(opened)
    return size_bytes, sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
