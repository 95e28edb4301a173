"""Jobs as their tenant sees them, and what may be decided about one: run it again, or do not run it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from services.api import store
from services.api.deps import Held, JobId, JobPage, MayReadJobs, MayWriteJobs
from services.api.documents import job_document, job_line, waiting_document
from shared.db.tx import Tx
from shared.kernel.errors import Conflict, NotFound
from shared.ledger.holds import waiting_for
from shared.ledger.store_dead import cancel_job, retry_jobs
from shared.ledger.store_read import list_jobs, read_attempts, read_job
from shared.ledger.store_waiting import read_facts
from shared.runtime.bodies import Name
from shared.runtime.idempotency import Idempotent

router = APIRouter(prefix="/jobs", tags=["jobs"])
Shown = Literal["scheduled", "queued", "retrying", "running", "completed", "dead", "cancelled"]


@router.get("")
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


@router.get("/{job_id}")
async def show_job(job_id: JobId, caller: MayReadJobs, resources: Held) -> dict[str, Any]:
    row = await read_job(resources.database, job_id, caller.tenant)
    if row is None:
        raise _unknown(job_id)
    attempts = await read_attempts(resources.database, job_id)
    now_us = resources.database.clock.now_us()
    reason = waiting_document(waiting_for(await read_facts(resources.database, row, now_us)))
    return job_document(row, attempts, now_us, reason)


@router.post("/{job_id}/retry", status_code=202)
async def retry(job_id: JobId, caller: MayWriteJobs, once: Idempotent) -> Response:
    """A dead or cancelled job starts over, and keeps the attempts that it has had."""
    async with once.tx() as tx:
        queues = await retry_jobs(tx, caller.tenant, [job_id], tx.now_us, states=("dead", "cancelled"))
        if not queues:
            raise await _why_not(tx, caller.tenant, job_id, "only a dead or cancelled job can be retried")
        tx.touched.update(queues.values())
        return once.answer(202, {"id": job_id, "state": "queued"}, {"Location": f"/v1/jobs/{job_id}"})


@router.post("/{job_id}/cancel", status_code=202)
async def cancel(job_id: JobId, caller: MayWriteJobs, once: Idempotent, resources: Held) -> Response:
    """A waiting job is cancelled at once; a running one is asked to end, and completes if it is faster."""
    async with once.tx() as tx:
        state, lane_queue = await cancel_job(tx, caller.tenant, job_id, tx.now_us)
        if lane_queue is not None:
            tx.after_commit(lambda: resources.waker.changed(lane_queue))  # it may have been what its lane waited for
        if state is None:
            raise await _why_not(tx, caller.tenant, job_id, "only a job that has not ended can be cancelled")
        answer = {"id": job_id, "state": state, "requested": state == "running"}
        return once.answer(202, answer, {"Location": f"/v1/jobs/{job_id}"})


async def _why_not(tx: Tx, tenant: str, job_id: str, rule: str) -> Exception:
    state = await store.job_state(tx, job_id, tenant, tx.now_us)
    return _unknown(job_id) if state is None else Conflict(f"{job_id} is {state}: {rule}", state=state)


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id}")
