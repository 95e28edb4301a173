"""What was synced from the configured feed: items as they are now, without those that are deleted."""

from typing import Any

import orjson
from fastapi import APIRouter

from services.api.deps import Held, ItemPage, MayReadSynced
from services.api.store_sync import list_items
from shared.kernel.clock import rfc3339
from shared.runtime.examples import example

router = APIRouter(prefix="/synced", tags=["synced"])
_ITEM = {"id": "sku-1", "version": 7, "data": {"name": "Lamp"}, "updated_at": "2026-01-30T06:15:00.114203Z"}


@router.get("", summary="List synced items", responses=example({"items": [_ITEM], "next_cursor": None}))
async def show_synced(caller: MayReadSynced, resources: Held, page: ItemPage) -> dict[str, Any]:
    """By id; each in its newest version, with when that was read."""
    rows = await list_items(resources.database, caller.tenant, page.after or "", page.rows)
    return page.of_keys([(row["id"], _shown(row)) for row in rows])


def _shown(row: Any) -> dict[str, Any]:
    data, read_at = orjson.loads(row["data"]), rfc3339(row["updated_at"])
    return {"id": row["id"], "version": row["version"], "data": data, "updated_at": read_at}
