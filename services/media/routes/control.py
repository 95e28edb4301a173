"""What is decided about assets, and which there are: list, cancel, process again.

A decision is kept with the job that it is about, in the transaction that carries it out. An asset's row is locked
before its job, here and where it ends.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Body as JsonBody
from pydantic import Field, WrapValidator
from starlette.responses import Response

from services.media.accepting import Kind, accept_again, queue_for
from services.media.asset_examples import AGAIN, CANCELLED, LINE, REPROCESSED
from services.media.cancelling import cancel_processing
from services.media.deps import AssetId, AssetPage, Held, HeldRoom, MayRead, MayWrite
from services.media.documents import State, asset_line, asset_state
from services.media.options import Focus, Priority, choose_again
from services.media.store import hold_asset, read_asset
from services.media.store_list import Wanted, list_assets
from shared.db.tx import Tx
from shared.kernel.errors import Conflict, NotFound
from shared.kernel.ids import id_floor
from shared.ledger.store_action import note_action
from shared.ledger.store_dead import read_ended
from shared.ledger.store_read import read_job
from shared.runtime.bodies import Body
from shared.runtime.examples import example, examples, page_of
from shared.runtime.idempotency import Idempotent
from shared.runtime.instants import instant_in_query
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.pages import encode

router = APIRouter(prefix="/media", tags=["media"], route_class=JsonRoute)
NAME_MOST_CHARS = 64
Instant = Annotated[str | None, Query(max_length=40, description="RFC 3339, as 2026-01-31T12:00:00Z")]


def _either(value: object, _: object) -> object:
    """One error where a union of types has one for each of them."""
    if value is None or isinstance(value, dict) or (isinstance(value, str) and 0 < len(value) <= NAME_MOST_CHARS):
        return value
    raise ValueError(f"must be the name of a preset set, of at most {NAME_MOST_CHARS} characters, or a whole set")


class Again(Body):
    """`presets` is a set by its name, or a whole set, which is called `custom`; without, it is the asset's own set, as
    that is now.
    """

    presets: Annotated[str | dict[str, Any] | None, WrapValidator(_either)] = None
    priority: Priority | None = Field(None, description="that of before, unless it is given")
    focus: Focus = None


@router.get("", summary="List assets", responses=page_of(LINE))
async def show_assets(
    *,
    caller: MayRead,
    resources: Held,
    page: AssetPage,
    state: Annotated[State | None, Query()] = None,
    kind: Annotated[Kind | None, Query()] = None,
    created_from: Instant = None,
    created_until: Instant = None,
) -> dict[str, Any]:
    """Newest first. A page may be short, or empty, and have a `next_cursor`: few of those that it looked at match."""
    until = _floor(created_until, "created_until")
    before = min((bound for bound in (page.after, until) if bound is not None), default=None)
    wanted = Wanted(state, kind, _floor(created_from, "created_from"), before)
    found = await list_assets(resources.database, caller.tenant, wanted, page.rows)
    shown = page.of(found.rows, asset_line, lambda row: str(row["id"]))
    if shown["next_cursor"] is None and found.looked_to is not None:
        return {**shown, "next_cursor": encode(found.looked_to)}
    return shown


@router.post(
    "/{asset_id}/cancel", status_code=202, summary="Cancel an asset's processing", responses=examples(CANCELLED, 202)
)
async def cancel(asset_id: AssetId, caller: MayWrite, once: Idempotent, resources: Held) -> Response:
    """One that waits is cancelled at once; the slot that works on it is ended, unless it is faster."""
    async with once.tx() as tx:
        asset = await _held(tx, asset_id, caller.tenant)
        job_id = asset["job_id"]
        job = await cancel_processing(tx, resources, caller.tenant, job_id)
        if job is None:
            state = await _state(tx, asset)
            raise Conflict(f"{asset_id} is {state}: only what has not ended can be cancelled", state=state)
        await note_action(
            tx, tenant=caller.tenant, caller=caller.key_id, action="cancel", job_id=job_id, at_us=tx.now_us,
            outcome={"state": job.state},
        )  # fmt: skip
        is_asked = job.state == "running"
        answer = {"id": asset_id, "job": job_id, "requested": is_asked}
        answer["state"] = "processing" if is_asked else "cancelled"
        return once.answer(202, answer, {"Location": f"/v1/media/{asset_id}"})


@router.post(
    "/{asset_id}/reprocess", status_code=202, summary="Process an asset again", responses=example(REPROCESSED, 202)
)
async def reprocess(
    asset_id: AssetId,
    caller: MayWrite,
    resources: Held,
    room: HeldRoom,
    once: Idempotent,
    body: Annotated[Again | None, JsonBody(openapi_examples=AGAIN)] = None,
) -> Response:
    """Its renditions stay until the new ones are there and take their place, all at once. 409 while it is processed."""
    await once.replay()
    known = await read_asset(resources.database, asset_id, caller.tenant)
    if known is None:
        raise NotFound(f"there is no asset {asset_id}")
    await _check_bytes(resources, known)
    said = body or Again()
    options = await choose_again(resources.database, known, said.presets, said.priority, said.focus)
    await room.take(queue_for(known["kind"], options.priority), caller.tenant)
    async with once.tx() as tx:
        asset = await _held(tx, asset_id, caller.tenant)
        state = await _state(tx, asset)
        if state in ("accepted", "processing"):
            raise Conflict(f"{asset_id} is {state}: wait for its end, or cancel it", state=state)
        job_id = await accept_again(tx, caller.tenant, asset, options)
        answer = {"id": asset_id, "job": job_id, "state": "accepted", "preset_set": options.preset_set}
        return once.answer(202, answer, {"Location": f"/v1/media/{asset_id}"})


async def _check_bytes(resources: Held, asset: Mapping[str, Any]) -> None:
    if not asset["source_key"]:
        job = await read_job(resources.database, asset["job_id"], asset["tenant"])
        state = asset_state(asset, job["state"] if job is not None else None)
        words = f"the bytes of {asset['id']} are not there: its job brings them, which can be retried when it is dead"
        raise Conflict(words, state=state, job=asset["job_id"])


async def _held(tx: Tx, asset_id: str, tenant: str) -> Mapping[str, Any]:
    asset = await hold_asset(tx, asset_id, tenant)
    if asset is None:
        raise NotFound(f"there is no asset {asset_id}")
    return asset


async def _state(tx: Tx, asset: Mapping[str, Any]) -> State:
    job = await read_ended(tx, asset["tenant"], asset["job_id"])
    return asset_state(asset, job["state"] if job is not None else None)


def _floor(instant: str | None, name: str) -> str | None:
    """The least id of that time."""
    return None if instant is None else id_floor("ast", instant_in_query(name, instant))
