"""The handlers of the media service, and TASKS, which binds them to their commands."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.media.deps import TheirBlobs, TheirPool, TheirResources, TheirSettings, ThisAttempt
from services.media.errors import DeadlineExceeded, MediaError, PoolFull, SlotDied
from services.media.leftovers import ROOT, sweep_files
from services.media.outcome import end_failed, end_processed
from services.media.presets import preset_set
from services.media.store import read_source
from shared.contracts.command import Command
from shared.contracts.commands.media import DeleteFiles, ProcessAsset, SweepFiles
from shared.runtime.sweeping import ONE, SHARE
from shared.transport.attempt import Discard, Retry
from shared.transport.enqueue import enqueue


async def process_asset(
    command: ProcessAsset,
    attempt: ThisAttempt,
    resources: TheirResources,
    blobs: TheirBlobs,
    pool: TheirPool,
    settings: TheirSettings,
) -> None:
    source = await read_source(resources.database, command.asset_id)
    if source is None:
        raise Discard("the asset has been deleted")
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        path = await blobs.local_copy(source["source_key"], Path(folder))
        presets = [preset.wire() for preset in preset_set(source["preset_set"])]
        args = {"source": str(path), "directory": folder, "presets": presets}
        try:
            made = await pool.run("renditions", args, timeout_s=settings.image_limit_s, on_progress=attempt.progress)
        except PoolFull as full:
            raise Retry(1.0, full.message) from None
        except MediaError as refused:
            await end_failed(attempt, command.asset_id, refused)
            return
        except (SlotDied, DeadlineExceeded) as broken:
            if not attempt.is_last:
                raise
            await end_failed(attempt, command.asset_id, broken)
            return
        await end_processed(attempt, command.asset_id, blobs, made)


async def delete_files(command: DeleteFiles, blobs: TheirBlobs) -> dict[str, int]:
    return {"files": await blobs.delete_prefix(f"{ROOT}/{command.asset_id}")}


async def sweep_leftovers(
    command: SweepFiles, attempt: ThisAttempt, resources: TheirResources, blobs: TheirBlobs
) -> None:
    def stopping() -> bool:
        return attempt.is_stopping

    budget_s = command.timeout_s * SHARE
    found = await sweep_files(blobs, resources.database, command.after, budget_s=budget_s, stopping=stopping)
    async with attempt.tx() as tx:
        more = None
        if not found.done:
            more = await enqueue(tx, SweepFiles(after=found.after), tenant=attempt.tenant, unique=ONE)
        attempt.result = {"assets": found.assets, "files": found.files, "more": more}


TASKS: dict[type[Command], Callable[..., Any]] = {
    ProcessAsset: process_asset,
    DeleteFiles: delete_files,
    SweepFiles: sweep_leftovers,
}
