"""Replays: sending again what an endpoint has missed, what has failed, or one event; counted before, if one likes."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Body as JsonBody
from starlette.responses import JSONResponse, Response

from services.webhooks import store_replay as store
from services.webhooks.deps import Held, MayRead, MayWrite, ReplayId, ReplayPage, TheDesk
from services.webhooks.replay_examples import ASKED, BEGUN, CANCELLED, COUNTED, SHOWN
from services.webhooks.replaying import NewReplay, count, document, replay_of, start
from shared.db.reading import looking
from shared.kernel.errors import Conflict, NotFound
from shared.ledger.store_dead import cancel_job
from shared.runtime.examples import example, page_of
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/webhooks/replays", tags=["webhook replays"], route_class=JsonRoute)
_BEGUN = example(COUNTED, 200, "`dry_run`: what was counted") | example(BEGUN, 202)


@router.post("", status_code=202, summary="Send again", responses=_BEGUN)
async def begin(
    body: Annotated[NewReplay, JsonBody(openapi_examples=ASKED)],
    caller: MayWrite,
    once: Idempotent,
    resources: Held,
    desk: TheDesk,
) -> Response:
    """At a pace, by a job that can be followed and cancelled; with `dry_run` nothing is sent, and the kinds counted.

    What was accepted before the endpoint was made, sent while it was disabled, kept from it by its terms of then, or
    never attempted, is `missing`; what ended as a dead letter is `failed`, and starts over as the delivery that it is.
    """
    keep_s = desk.settings.keep_events_s
    if body.dry_run:
        asked = replay_of(body, caller.tenant, resources.database.clock.now_us(), keep_s)
        return JSONResponse(await count(resources.database, asked.model_dump(), keep_s))
    async with once.tx() as tx:  # the judging too: what began a day ago may name an instant of which nothing is kept
        made = await start(tx, replay_of(body, caller.tenant, tx.now_us, keep_s), keep_s)
        answer = document(made.model_dump(), "ready")
        return once.answer(202, answer, {"Location": f"/v1/webhooks/replays/{made.id}"})


@router.get("", summary="List replays", responses=page_of(SHOWN))
async def show_all(caller: MayRead, resources: Held, page: ReplayPage) -> dict[str, Any]:
    """Newest first."""
    async with looking(resources.database) as connection:
        rows = await store.show_all(connection, caller.tenant, before=page.after, limit=page.rows)
    return page.of(rows, lambda row: document(row, row["job_state"]), lambda row: str(row["id"]))


@router.get("/{replay_id}", summary="Show a replay", responses=example(SHOWN))
async def show(replay_id: ReplayId, caller: MayRead, resources: Held) -> dict[str, Any]:
    """How far it is. `follow` is where its progress comes as Server-Sent Events."""
    async with looking(resources.database) as connection:
        row = await store.show(connection, replay_id, caller.tenant)
    if row is None:
        raise _unknown(replay_id)
    return document(row, row["job_state"])


@router.post("/{replay_id}/cancel", status_code=202, summary="Cancel a replay", responses=example(CANCELLED, 202))
async def cancel(replay_id: ReplayId, caller: MayWrite, once: Idempotent, resources: Held) -> Response:
    """Nothing more is sent; deliveries that were made already go on."""
    async with once.tx() as tx:
        row = await store.show(tx, replay_id, caller.tenant)
        if row is None:
            raise _unknown(replay_id)
        if not await store.end(tx, replay_id, "cancelled", tx.now_us):
            raise Conflict(f"{replay_id} has ended: it is {row['state']}", state=row["state"])
        job = await cancel_job(tx, caller.tenant, replay_id, tx.now_us)
        if job is not None and job.state == "running":
            tx.after_commit(lambda: resources.waker.cancel(job.queue, replay_id))
        answer = document({**row, "state": "cancelled", "finished_at": tx.now_us}, "cancelled")
        return once.answer(202, answer, {"Location": f"/v1/webhooks/replays/{replay_id}"})


def _unknown(replay_id: str) -> NotFound:
    return NotFound(f"there is no replay {replay_id}")
