"""Lanes of the caller's tenant: what waits in them, limits of their own over those of their jobs' command, pauses.

A lane is a name within a queue and a tenant; it is shown while somebody has said something about it, or while it has
jobs that have not ended. A change reaches the relay within milliseconds, and within 5 s if its nudge is lost.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from services.api.deps import Held, LaneName, LanePage, MayReadLanes, MayWriteLanes, QueueChosen, QueueOfLane
from services.api.lanes import find_lane, find_lanes, make_room
from shared.contracts.lane import RATE_LEAST, LanePolicy
from shared.db.reading import looking
from shared.db.tx import Tx
from shared.kernel.errors import NotFound
from shared.ledger import store_limits as store
from shared.runtime.bodies import Body
from shared.runtime.examples import body_example, example, page_of
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.resources import Resources

router = APIRouter(prefix="/lanes", tags=["lanes"], route_class=JsonRoute)


class Limits(Body):
    """Replaces all limits; what is not given is not limited. The bounds are those of `LanePolicy`."""

    concurrency: Annotated[int | None, Field(ge=1, le=100_000, description="jobs dispatched or running")] = None
    rate_per_s: Annotated[float | None, Field(ge=RATE_LEAST, le=100_000, description="starts a second")] = None
    burst: Annotated[int, Field(ge=1, le=100_000, description="starts at once after a rest")] = 1
    ordered: Annotated[bool, Field(description="one at a time, in the order of acceptance")] = False


_BODY = body_example({"concurrency": 5, "rate_per_s": 2.5})
_LANE = {
    "queue": "webhooks", "name": "ep_01m81s9dese3ksgafskmq7x1bp", "own": True, "concurrency": 5, "rate_per_s": 2.5,
    "burst": 1, "ordered": False, "paused": False, "paused_at": None, "waiting": 12, "waiting_is_more": False,
    "under_way": 5,
}  # fmt: skip
_SHOWN = example(_LANE)
_PAUSED = example({**_LANE, "paused": True, "paused_at": "2026-01-31T12:00:00.123456Z"})


@router.get("", summary="Lanes by name, with what waits in them", responses=page_of(_LANE))
async def show_lanes(
    caller: MayReadLanes, resources: Held, page: LanePage, queue: QueueChosen = None
) -> dict[str, Any]:
    """`waiting` counts up to 1,000; `under_way` is what is dispatched or running."""
    async with looking(resources.database) as connection:
        return page.of_keys(await find_lanes(connection, caller.tenant, queue, page.after or "", page.rows))


@router.get("/{queue}/{name}", summary="One lane", responses=_SHOWN)
async def show_lane(caller: MayReadLanes, queue: QueueOfLane, name: LaneName, resources: Held) -> dict[str, Any]:
    async with looking(resources.database) as connection:
        found = await find_lane(connection, caller.tenant, queue, name)
    if found is None:
        raise _unknown(queue, name)
    return found


@router.put("/{queue}/{name}", summary="Limit a lane", openapi_extra=_BODY, responses=_SHOWN)
async def limit(
    caller: MayWriteLanes, queue: QueueOfLane, name: LaneName, body: Limits, resources: Held
) -> dict[str, Any]:
    """What is under way already goes on, also when it is more than the new limit."""
    async with resources.tx() as tx:
        await make_room(tx, caller.tenant, queue, name)
        await store.put_limits(tx, queue, caller.tenant, name, LanePolicy(**body.model_dump()), tx.now_us)
        _tell(tx, resources, queue)
        return await _shown(tx, caller.tenant, queue, name)


@router.delete("/{queue}/{name}", status_code=204, summary="Give a lane's limits back to its jobs' command")
async def clear(caller: MayWriteLanes, queue: QueueOfLane, name: LaneName, resources: Held) -> Response:
    async with resources.tx() as tx:
        if not await store.clear_limits(tx, queue, caller.tenant, name, tx.now_us):
            raise NotFound(f"the lane {name} of {queue} has no limits of its own")
        _tell(tx, resources, queue)
    return Response(status_code=204)


@router.post("/{queue}/{name}/pause", summary="Start nothing more in a lane", responses=_PAUSED)
async def pause(
    caller: MayWriteLanes, queue: QueueOfLane, name: LaneName, once: Idempotent, resources: Held
) -> Response:
    """Running jobs go on; what no worker has claimed goes back into line. It stays paused whatever restarts."""
    async with once.tx() as tx:
        await make_room(tx, caller.tenant, queue, name)
        await store.pause_lane(tx, queue, caller.tenant, name, tx.now_us)
        _tell(tx, resources, queue)
        return once.answer(200, await _shown(tx, caller.tenant, queue, name))


@router.post("/{queue}/{name}/resume", summary="Let a paused lane go on", responses=_SHOWN)
async def resume(
    caller: MayWriteLanes, queue: QueueOfLane, name: LaneName, once: Idempotent, resources: Held
) -> Response:
    async with once.tx() as tx:
        shown = await find_lane(tx, caller.tenant, queue, name)
        if shown is None:
            raise _unknown(queue, name)
        await store.resume_lane(tx, queue, caller.tenant, name)
        _tell(tx, resources, queue)
        return once.answer(200, {**shown, "paused": False, "paused_at": None})


async def _shown(tx: Tx, tenant: str, queue: str, name: str) -> dict[str, Any]:
    return await find_lane(tx, tenant, queue, name) or {}


def _tell(tx: Tx, resources: Resources, queue: str) -> None:
    tx.after_commit(lambda: resources.waker.changed(queue))


def _unknown(queue: str, name: str) -> NotFound:
    return NotFound(f"there is no lane {name} of {queue}: it has no limits, is not paused, and has no jobs")
