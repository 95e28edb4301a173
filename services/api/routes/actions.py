"""What was decided about jobs, by whom and when: append-only, newest first."""

from typing import Any

from fastapi import APIRouter

from services.api.deps import ActionId, ActionPage, Held, MayReadDead
from services.api.documents import action_entry, action_line
from services.api.examples import ACTION
from shared.kernel.errors import NotFound
from shared.ledger.store_action import list_actions, read_action
from shared.runtime.examples import example, page_of

router = APIRouter(prefix="/actions", tags=["dead letters"])


@router.get("", summary="List what was decided about jobs", responses=page_of(ACTION))
async def show_actions(caller: MayReadDead, resources: Held, page: ActionPage) -> dict[str, Any]:
    """Newest first; of a decision about many, the first ids and how many were left out."""
    rows = await list_actions(resources.database, caller.tenant, before=page.after, limit=page.rows)
    return page.of(rows, action_line, lambda row: str(row["id"]))


@router.get("/{action_id}", summary="Show one decision", responses=example(ACTION))
async def show_action(action_id: ActionId, caller: MayReadDead, resources: Held) -> dict[str, Any]:
    """With every id."""
    row = await read_action(resources.database, action_id, caller.tenant)
    if row is None:
        raise NotFound(f"there is no action {action_id}")
    return action_entry(row)
