"""Deleting an asset: its row, its reference to a source, what is left of its upload; and then their files.

Rows go in the request's transaction, and with it a job is accepted that deletes the files: a crash in between leaves
none. The invariant: files go only after the commit in which no row refers to them any more.
"""

from services.media.accepting import TIMEOUTS_S
from services.media.intake import source_folder
from services.media.sources import release
from services.media.store_uploads import drop_uploads_of
from services.media.upload_folders import upload_folder
from shared.contracts.commands.media import DeleteFiles
from shared.db.sql import Statement
from shared.db.tx import Tx
from shared.kernel.clock import after_us
from shared.transport.enqueue import enqueue

_DELETE = Statement(
    "remove_asset", "DELETE FROM media_assets WHERE id = :id AND tenant = :tenant RETURNING id, source_id"
)


async def remove_asset(tx: Tx, asset_id: str, tenant: str) -> list[str]:
    """The folders that may be deleted once `tx` has committed; none when there is no such asset.

    The job that deletes them again comes when no job of the asset's own can run any longer.
    """
    rows = await tx.fetch(_DELETE, {"id": asset_id, "tenant": tenant})
    if not rows:
        return []
    folders = [f"assets/{asset_id}"]
    source_id = rows[0]["source_id"]
    if source_id is not None and await release(tx, source_id):
        folders.append(source_folder(source_id))
    folders += [upload_folder(upload_id) for upload_id in await drop_uploads_of(tx, asset_id)]
    command = DeleteFiles(asset_id=asset_id, folders=tuple(folders[1:]))
    await enqueue(tx, command, tenant=tenant, run_at=after_us(tx.now_us, 2 * max(TIMEOUTS_S.values())))
    return folders
