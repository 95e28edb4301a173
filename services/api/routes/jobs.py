"""Jobs as their tenant sees them, and what may be decided about one: run it again, change it, or do not run it.

Every decision is kept with the job, in the transaction that carries it out.
"""

from typing import Annotated, Any, Literal, Self

import orjson
from fastapi import APIRouter, Query
from fastapi import Body as JsonBody
from pydantic import Field, field_validator, model_validator
from starlette.responses import Response

from services.api import store
from services.api.deps import Held, JobId, JobPage, MayReadJobs, MayWriteJobs
from services.api.documents import job_line
from services.api.edits import checked_args
from services.api.examples import AGAIN, CANCELLED, CHANGED, CHANGES, JOB, JOB_LINE, RETRIED
from services.api.lookup import read_whole
from shared.contracts.command import PRIORITIES
from shared.db.tx import Tx
from shared.kernel.clock import from_rfc3339, rfc3339
from shared.kernel.errors import Conflict, NotFound
from shared.ledger.states import shown_state
from shared.ledger.store_action import note_action
from shared.ledger.store_change import change_waiting
from shared.ledger.store_dead import cancel_job, read_ended, retry_jobs, set_args
from shared.ledger.store_read import list_jobs
from shared.runtime.bodies import Body, Name
from shared.runtime.callers import Caller
from shared.runtime.examples import example, page_of
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)
Shown = Literal["scheduled", "queued", "retrying", "running", "completed", "dead", "cancelled"]
_ENDED = ("dead", "cancelled")


class Change(Body):
    """`run_at` is RFC 3339; one that has passed is now."""

    priority: int | None = Field(None, ge=0, lt=PRIORITIES)
    run_at: str | None = Field(None, max_length=40)

    @field_validator("run_at")
    @classmethod
    def _instant(cls, value: str | None) -> str | None:
        if value is not None:
            from_rfc3339(value)
        return value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.priority is None and self.run_at is None:
            raise ValueError("give a priority, a run_at or both")
        return self

    def run_at_us(self, now_us: int) -> int | None:
        return None if self.run_at is None else max(now_us, from_rfc3339(self.run_at))


class Again(Body):
    """`args` take the place of all of the job's arguments."""

    args: dict[str, Any] | None = None


@router.get("", summary="List jobs", responses=page_of(JOB_LINE))
async def show_jobs(
    *,
    caller: MayReadJobs,
    resources: Held,
    page: JobPage,
    state: Annotated[Shown | None, Query()] = None,
    queue: Annotated[Name | None, Query()] = None,
    task: Annotated[Name | None, Query()] = None,
) -> dict[str, Any]:
    """Newest first."""
    now_us = resources.database.clock.now_us()
    rows = await list_jobs(
        resources.database, caller.tenant, shown=state, queue=queue, task=task, now_us=now_us,
        before=page.after, limit=page.rows,
    )  # fmt: skip
    return page.of(rows, lambda row: job_line(row, now_us), lambda row: str(row["id"]))


@router.get("/{job_id}", summary="Show a job", responses=example(JOB))
async def show_job(job_id: JobId, caller: MayReadJobs, resources: Held) -> dict[str, Any]:
    """With its arguments, its result, every attempt, what was decided about it, and what it waits for."""
    found = await read_whole(resources.database, job_id, caller.tenant)
    if found is None:
        raise _unknown(job_id)
    return found


@router.patch("/{job_id}", summary="Change a waiting job", responses=example(CHANGED))
async def alter(
    job_id: JobId,
    body: Annotated[Change, JsonBody(openapi_examples=CHANGES)],
    caller: MayWriteJobs,
    resources: Held,
) -> dict[str, Any]:
    """The priority or the time of a job that waits; one that runs or has ended is left alone: 409."""
    async with resources.tx() as tx:
        run_at = body.run_at_us(tx.now_us)
        row = await change_waiting(tx, job_id, tenant=caller.tenant, priority=body.priority, run_at=run_at)
        if row is None:
            raise await _why_not(tx, caller.tenant, job_id, "only a waiting job can be changed")
        changed = {name: getattr(body, name) for name in sorted(body.model_fields_set)}
        await _note(tx, caller, "change", job_id, changed)
        tx.after_commit(lambda: resources.waker.changed(row["queue"]))
        state = shown_state(row["state"], row["run_at"], row["attempt"], tx.now_us)
        return {"id": job_id, "state": state, "priority": row["priority"], "run_at": rfc3339(row["run_at"])}


@router.post("/{job_id}/retry", status_code=202, summary="Run a job again", responses=example(RETRIED, 202))
async def retry(
    job_id: JobId,
    caller: MayWriteJobs,
    once: Idempotent,
    body: Annotated[Again | None, JsonBody(openapi_examples=AGAIN)] = None,
) -> Response:
    """A dead or cancelled job starts over, and keeps the attempts that it has had; with `args`, on other arguments."""
    async with once.tx() as tx:
        args = body.args if body is not None else None
        before = await _edit(tx, caller, job_id, args) if args is not None else {}
        queues = await retry_jobs(tx, caller.tenant, [job_id], tx.now_us, states=_ENDED)
        if not queues:
            raise await _why_not(tx, caller.tenant, job_id, "only a dead or cancelled job can be retried")
        await _note(tx, caller, "retry", job_id, before)
        tx.touched.update(queues.values())
        return once.answer(202, {"id": job_id, "state": "queued"}, {"Location": f"/v1/jobs/{job_id}"})


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job", responses=example(CANCELLED, 202))
async def cancel(job_id: JobId, caller: MayWriteJobs, once: Idempotent, resources: Held) -> Response:
    """A waiting job is cancelled at once; a running one is asked to end, and completes if it is faster."""
    async with once.tx() as tx:
        job = await cancel_job(tx, caller.tenant, job_id, tx.now_us)
        if job is None:
            raise await _why_not(tx, caller.tenant, job_id, "only a job that has not ended can be cancelled")
        await _note(tx, caller, "cancel", job_id, {"state": job.state})
        if job.state == "running":
            tx.after_commit(lambda: resources.waker.cancel(job.queue, job_id))
        elif job.lane is not None:
            tx.after_commit(lambda: resources.waker.changed(job.queue))  # it may have been what its lane waited for
        answer = {"id": job_id, "state": job.state, "requested": job.state == "running"}
        return once.answer(202, answer, {"Location": f"/v1/jobs/{job_id}"})


async def _edit(tx: Tx, caller: Caller, job_id: str, args: dict[str, Any]) -> dict[str, Any]:
    """Give an ended job other arguments; returns what the log keeps of the old ones."""
    row = await read_ended(tx, caller.tenant, job_id)
    if row is None or row["state"] not in _ENDED:
        return {}  # the retry will say why not
    packed = await checked_args(tx, row["task"], args)
    if not await set_args(tx, caller.tenant, job_id, packed, fence=row["fence"]):
        raise Conflict(f"{job_id} has been run again meanwhile: look at it first")
    return {"args_before": orjson.loads(row["args"]), "args": orjson.loads(packed)}


async def _note(tx: Tx, caller: Caller, action: str, job_id: str, outcome: dict[str, Any]) -> None:
    await note_action(
        tx, tenant=caller.tenant, caller=caller.key_id, action=action, job_id=job_id, outcome=outcome, at_us=tx.now_us
    )


async def _why_not(tx: Tx, tenant: str, job_id: str, rule: str) -> Exception:
    state = await store.job_state(tx, job_id, tenant, tx.now_us)
    return _unknown(job_id) if state is None else Conflict(f"{job_id} is {state}: {rule}", state=state)


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id}")
