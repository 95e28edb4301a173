"""Queues: how much is due, and for how long. What an autoscaler reads, of the whole queue: it has no tenant."""

from typing import Any

from fastapi import APIRouter, Depends

from services.api.deps import Held
from shared.contracts.commands import QUEUES
from shared.kernel.errors import NotFound
from shared.ledger.store_read import read_backlog
from shared.runtime.callers import require
from shared.runtime.resources import Resources

router = APIRouter(prefix="/queues", tags=["queues"], dependencies=[Depends(require("queues:read"))])


@router.get("")
async def show_queues(resources: Held) -> dict[str, Any]:
    items = [{"name": queue, **await _backlog(resources, queue)} for queue in QUEUES]
    return {"items": items, "next_cursor": None}


@router.get("/{name}/backlog")
async def show_backlog(name: str, resources: Held) -> dict[str, Any]:
    """`backlog`: due jobs that are ready, dispatched or running; `oldest_age_s`: since the oldest of them was due."""
    if name not in QUEUES:
        raise NotFound(f"there is no queue {name[:100]}", known=list(QUEUES))
    return await _backlog(resources, name)


async def _backlog(resources: Resources, queue: str) -> dict[str, Any]:
    now_us = resources.database.clock.now_us()
    found = await read_backlog(resources.database, queue, now_us)
    oldest = found["oldest"]
    return {"backlog": found["backlog"], "oldest_age_s": 0.0 if oldest is None else max(0, now_us - oldest) / 1e6}
