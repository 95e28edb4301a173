"""Files that no row makes count, and their end: of uploads and attempts that were cut off before their row committed.

Only what has not been touched for REST_S goes: an upload whose row is about to commit, an attempt that is about to
end, have theirs. Of an asset whose job has ended, however it has, its source and what its row lists count; while it has
not, everything does. Of an upload in parts, the parts that were acknowledged count; of a source, its one object, as
long as an asset names it: one that none has named for REST_S, which code that knows no sources leaves, loses its row
first. Without a row, nothing. Walks one root of the storage after the other in the order of keys, so that a run which
is out of time, or whose process is to end, says where the next one goes on.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from services.media import intake, upload_folders
from services.media.blobs import Blobs
from services.media.sources import release_unnamed, sources_there
from services.media.store import read_assets
from services.media.store_uploads import uploads_there
from shared.db.engine import Database
from shared.kernel.clock import after_us
from shared.ledger.states import TERMINAL

ROOT = "assets"
ROOTS = (ROOT, intake.ROOT, upload_folders.ROOT)
REST_S = 24 * 3600.0
FOLDERS_AT_ONCE = 100  # of one look at the database
Counts = Callable[[str, str], bool]
"""Whether, in the folder of this name, this key counts."""


class Looked(NamedTuple):
    """What a run has done: `after` is the folder of `root` that it ended with; `done`: there was nothing after it."""

    folders: int
    files: int
    root: str
    after: str | None
    done: bool


def asset_counts(asset: Mapping[str, Any] | None, key: str) -> bool:
    if asset is None:
        return False
    if asset["job_state"] is not None and asset["job_state"] not in TERMINAL:
        return True
    return key == asset["source_key"] or any(
        key == item["key"] for item in orjson.loads(asset["renditions"] or "[]")
    )  # fmt: skip


async def _of_assets(database: Database, names: Sequence[str]) -> Counts:
    assets = await read_assets(database, names)
    return lambda name, key: asset_counts(assets.get(name), key)


async def _of_sources(database: Database, names: Sequence[str]) -> Counts:
    await release_unnamed(database, names, after_us(database.clock.now_us(), -REST_S))
    there = await sources_there(database, names)
    return lambda name, key: name in there and key == f"{intake.source_folder(name)}/source"


async def _of_uploads(database: Database, names: Sequence[str]) -> Counts:
    there = await uploads_there(database, names)

    def counts(name: str, key: str) -> bool:
        keys = there.get(name, set())
        return keys is None or key in keys

    return counts


_JUDGES: Mapping[str, Callable[[Database, Sequence[str]], Awaitable[Counts]]] = {
    ROOT: _of_assets, intake.ROOT: _of_sources, upload_folders.ROOT: _of_uploads,
}  # fmt: skip


async def sweep_files(
    blobs: Blobs,
    database: Database,
    after: str | None,
    *,
    budget_s: float,
    stopping: Callable[[], bool],
    root: str = ROOT,
) -> Looked:
    """From the folder `after` of `root`, through the roots that follow it."""
    seen = gone = 0
    until_s = time.monotonic() + budget_s
    for this in ROOTS[ROOTS.index(root) if root in ROOTS else 0 :]:
        last = after if this == root else None
        async for group in _groups(blobs.folders(this, last)):
            if stopping() or time.monotonic() >= until_s:
                return Looked(seen, gone, this, last, done=False)
            counts = await _JUDGES[this](database, [folder for folder, _ in group])
            before_s = time.time() - REST_S
            for folder, keys in group:
                found = [key for key, changed_s in keys.items() if changed_s < before_s and not counts(folder, key)]
                await blobs.remove(found)
                gone += len(found)
            seen, last = seen + len(group), group[-1][0]
    return Looked(seen, gone, ROOTS[-1], last, done=True)


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
