"""Files that no row makes count, and their end: of uploads and attempts that were cut off before their row committed.

Only what has not been touched for REST_S goes: an upload whose row is about to commit, an attempt that is about to
end, have theirs. Of an asset whose processing has ended, its source and what its row lists count; of one that has not,
everything does; without a row, nothing. Walks the storage once in the order of keys, so that a run which is out of
time, or whose process is to end, says where the next one goes on.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from services.media.blobs import Blobs
from services.media.store import read_assets
from shared.db.engine import Database

ROOT = "assets"
REST_S = 24 * 3600.0
FOLDERS_AT_ONCE = 100  # assets of one look at the database


class Looked(NamedTuple):
    """What a run has done: `after` is the asset that it ended with; `done`: there was nothing after it."""

    assets: int
    files: int
    after: str | None
    done: bool


def leftovers(keys: Mapping[str, float], asset: Mapping[str, Any] | None, before_s: float) -> list[str]:
    """Of one asset's keys (each with the Unix time of its last change) those that nothing refers to."""
    old = [key for key, changed_s in keys.items() if changed_s < before_s]
    if asset is None:
        return old
    if asset["renditions"] is None and asset["error"] is None:
        return []
    counted = {asset["source_key"], *(item["key"] for item in orjson.loads(asset["renditions"] or "[]"))}
    return [key for key in old if key not in counted]


async def sweep_files(
    blobs: Blobs, database: Database, after: str | None, *, budget_s: float, stopping: Callable[[], bool]
) -> Looked:
    seen = gone = 0
    last = after
    until_s = time.monotonic() + budget_s
    async for group in _groups(blobs.folders(ROOT, after)):
        if stopping() or time.monotonic() >= until_s:
            return Looked(seen, gone, last, done=False)
        assets = await read_assets(database, [folder for folder, _ in group])
        before_s = time.time() - REST_S
        for folder, keys in group:
            found = leftovers(keys, assets.get(folder), before_s)
            await blobs.remove(found)
            gone += len(found)
        seen, last = seen + len(group), group[-1][0]
    return Looked(seen, gone, last, done=True)


async def _groups(
    folders: AsyncIterator[tuple[str, Mapping[str, float]]],
) -> AsyncIterator[Sequence[tuple[str, Mapping[str, float]]]]:
    held: list[tuple[str, Mapping[str, float]]] = []
    async for folder in folders:
        held.append(folder)
        if len(held) == FOLDERS_AT_ONCE:
            yield held
            held = []
    if held:
        yield held
