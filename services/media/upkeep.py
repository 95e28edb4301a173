"""Jobs that delete: files of what is gone, files that no row makes count, uploads that were not completed in time."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from services.media.deps import TheirBlobs, TheirResources, TheirSettings, ThisAttempt
from services.media.leftovers import ROOT, sweep_files
from services.media.store_quarantine import casualty_sweep
from services.media.store_uploads import upload_sweep
from services.media.upload_folders import upload_folder
from shared.contracts.command import Command
from shared.contracts.commands.media import DeleteFiles, ExpireUploads, SweepFiles
from shared.db.sweep import sweep_all
from shared.kernel.clock import after_us
from shared.runtime.sweeping import ONE, SHARE, end_swept, sweep_for
from shared.transport.enqueue import enqueue

ABANDONED_S = 14 * 86_400.0  # after its end, an upload whose job is a dead letter
EXPIRE_BATCH = 200


async def delete_files(command: DeleteFiles, blobs: TheirBlobs) -> dict[str, int]:
    folders = [f"{ROOT}/{command.asset_id}", *command.folders]
    return {"files": sum([await blobs.delete_prefix(folder) for folder in folders])}


async def sweep_leftovers(
    command: SweepFiles,
    attempt: ThisAttempt,
    resources: TheirResources,
    blobs: TheirBlobs,
    settings: TheirSettings,
) -> None:
    """And contents that have ended no slot for a month are forgotten."""

    def stopping() -> bool:
        return attempt.is_stopping

    database, budget_s = resources.database, command.timeout_s * SHARE / 2
    before_us = after_us(database.clock.now_us(), -settings.keep_casualties_s)
    forgotten = await sweep_all(
        database, [casualty_sweep(before_us)], batch=EXPIRE_BATCH, budget_s=budget_s, stopping=stopping
    )
    found = await sweep_files(blobs, database, command.after, root=command.root, budget_s=budget_s, stopping=stopping)
    async with attempt.tx() as tx:
        more = None
        if not found.done:
            rest = SweepFiles(after=found.after, root=found.root)
            more = await enqueue(tx, rest, tenant=attempt.tenant, unique=ONE)
        attempt.result = {"folders": found.folders, "files": found.files, **forgotten.rows, "more": more}


async def expire_uploads(
    command: ExpireUploads, attempt: ThisAttempt, resources: TheirResources, blobs: TheirBlobs
) -> None:
    """Rows first, batch by batch, then what they made count.

    What a crash, or the end of the process or of the time, leaves in between goes with the nightly sweep.
    """
    now_us = resources.database.clock.now_us()
    until_s = time.monotonic() + attempt.claim.timeout_s * SHARE

    async def delete(gone: Sequence[str]) -> None:
        for upload_id in gone:
            if attempt.is_stopping or time.monotonic() >= until_s:
                return
            await blobs.delete_prefix(upload_folder(upload_id))

    sweep = upload_sweep(now_us, after_us(now_us, -ABANDONED_S), delete)
    found = await sweep_for(
        attempt, resources.database, [sweep], batch=EXPIRE_BATCH, at=command.at, after=command.after
    )
    await end_swept(attempt, found, lambda at, after: ExpireUploads(at=at, after=after))


HANDLERS: dict[type[Command], Callable[..., Any]] = {
    DeleteFiles: delete_files,
    SweepFiles: sweep_leftovers,
    ExpireUploads: expire_uploads,
}
