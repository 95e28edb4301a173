"""Schedules: the commands that run by themselves, when they last did and will next; pause, resume, run one now.

They are the operator's, of the whole system like the queues: whoever has the scope sees and decides about all of them.
Their jobs belong to the tenant `system`, so only a key of that tenant reads those under `/v1/jobs`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import Response

from services.api.deps import Held, MayReadSchedules, MayWriteSchedules
from services.api.documents import schedule_document
from shared.db.sql import Row
from shared.db.tx import Tx
from shared.kernel.errors import Conflict, NotFound
from shared.ledger.agenda import first_undecided
from shared.ledger.store_action import note_action
from shared.ledger.store_schedule import (
    GONE,
    hold_schedule,
    last_ticks,
    list_schedules,
    made_after,
    pause_schedule,
)
from shared.runtime.callers import Caller
from shared.runtime.examples import example
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.ticker import job_of
from shared.transport.enqueue import enqueue_all

router = APIRouter(prefix="/schedules", tags=["schedules"], route_class=JsonRoute)
ScheduleId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$",
        max_length=200,
        description="the task's name, with `:` and the schedule's name if it has one",
        examples=["upkeep.purge_history"],
    ),
]
_GONE: dict[int | str, dict[str, Any]] = {409: {"description": "the schedule is no longer in the code"}}
_NEXT = [f"2026-02-{day:02d}T06:00:00.000000Z" for day in (2, 3, 4, 5, 6)]
_SCHEDULE = {
    "id": "email.send_digest", "task": "email.send_digest", "queue": "api", "tenant": "system", "state": "active",
    "cron": "0 7 * * MON-FRI", "time_zone": "Europe/Berlin", "args": {"kind": "daily"}, "missed": "all",
    "catch_up": 5, "next": _NEXT,
    "last": {
        "tick_at": "2026-01-30T06:00:00.000000Z", "job": "job_01kg65ddk0e6xb1fhk61mnzvw7", "state": "completed",
        "missed": 0,
    },
    "updated_at": "2026-01-05T09:14:02.118306Z",
}  # fmt: skip
_PAUSED = {"id": _SCHEDULE["id"], "state": "paused", "next": []}
_RESUMED = {"id": _SCHEDULE["id"], "state": "active", "next": _NEXT}
_RUN = {"id": _SCHEDULE["id"], "job": "job_01kg7t8mw2f5c9zr3xqj0v4hdn"}


@router.get("", summary="List schedules", responses=example({"items": [_SCHEDULE], "next_cursor": None}))
async def show_schedules(_: MayReadSchedules, resources: Held) -> dict[str, Any]:
    """Each with its next five ticks, its last one and that one's job."""
    last = await last_ticks(resources.database)
    rows = await list_schedules(resources.database)
    return {"items": [schedule_document(row, last.get(row["id"])) for row in rows], "next_cursor": None}


@router.get("/{schedule_id}", summary="Show a schedule", responses=example(_SCHEDULE))
async def show_schedule(schedule_id: ScheduleId, _: MayReadSchedules, resources: Held) -> dict[str, Any]:
    rows = await list_schedules(resources.database, schedule_id)
    if not rows:
        raise _unknown(schedule_id)
    last = await last_ticks(resources.database, schedule_id)
    return schedule_document(rows[0], last.get(schedule_id))


@router.post("/{schedule_id}/pause", summary="Pause a schedule", responses=example(_PAUSED) | _GONE)
async def pause(schedule_id: ScheduleId, caller: MayWriteSchedules, once: Idempotent) -> Response:
    """It makes no job until it is resumed, whatever is deployed meanwhile; a job that it has made is left alone."""
    async with once.tx() as tx:
        row = await _held(tx, schedule_id)
        if not row["paused"]:
            await pause_schedule(tx, schedule_id, paused=True, next_us=None, now_us=tx.now_us)
            await _note(tx, caller, row, "pause")
        return once.answer(200, _decided({**row, "paused": True, "next_at": None}))


@router.post("/{schedule_id}/resume", summary="Resume a schedule", responses=example(_RESUMED) | _GONE)
async def resume(schedule_id: ScheduleId, caller: MayWriteSchedules, once: Idempotent) -> Response:
    """It goes on with the next tick from now: those that came while it was paused are not made up for."""
    async with once.tx() as tx:
        row = await _held(tx, schedule_id)
        following = row["next_at"]
        if row["paused"]:
            made = await made_after(tx, tx.now_us)
            following = first_undecided(row, made.get(schedule_id, frozenset()), tx.now_us)
            await pause_schedule(tx, schedule_id, paused=False, next_us=following, now_us=tx.now_us)
            await _note(tx, caller, row, "resume")
        return once.answer(200, _decided({**row, "paused": False, "next_at": following}))


@router.post(
    "/{schedule_id}/run", status_code=202, summary="Run a schedule's job now", responses=example(_RUN, 202) | _GONE
)
async def run(schedule_id: ScheduleId, caller: MayWriteSchedules, once: Idempotent) -> Response:
    """One job, besides the ticks: it stands for none of them, moves none, and is made of a paused schedule as well.

    Of a command that is unique, a job that waits may stand for it: then that one is named.
    """
    async with once.tx() as tx:
        row = await _held(tx, schedule_id)
        (job,) = await enqueue_all(tx, [job_of(row, tx.now_us, run_at=tx.now_us)])
        await _note(tx, caller, row, "run", job.id)
        answer = {"id": schedule_id, "job": job.id}
        return once.answer(202, answer, {"Location": f"/v1/jobs/{job.id}"})


async def _held(tx: Tx, schedule_id: str) -> Row:
    row = await hold_schedule(tx, schedule_id)
    if row is None:
        raise _unknown(schedule_id)
    if row["source"] == GONE:
        raise Conflict(f"{schedule_id} is no longer in the code: it cannot be run, paused or resumed", state="removed")
    return row


async def _note(tx: Tx, caller: Caller, row: Row, verb: str, job_id: str | None = None) -> None:
    """It is kept who decided, beside the jobs' own history."""
    await note_action(
        tx, tenant=row["tenant"], caller=caller.key_id, action=verb, at_us=tx.now_us, job_id=job_id,
        target={"schedule": row["id"]},
    )  # fmt: skip


def _decided(row: Mapping[str, Any]) -> dict[str, Any]:
    document = schedule_document(row, None)
    return {name: document[name] for name in ("id", "state", "next")}


def _unknown(schedule_id: str) -> NotFound:
    return NotFound(f"there is no schedule {schedule_id}")
