"""The dead-letter inbox: what gave up, grouped by what failed alike, until somebody retries or discards it."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from fastapi import Body as JsonBody
from pydantic import Field, model_validator
from starlette.responses import Response

from services.api.canary import CANARIES_MOST
from services.api.deps import Held, JobPage, MayReadDead, MayWriteDead
from services.api.documents import group_document, group_name, job_line
from services.api.examples import CANARY, DEAD, DEAD_DISCARDED, DEAD_RETRIED, DISCARD_DEAD, RETRY_DEAD
from services.api.inbox import decide, note, start_canary
from shared.kernel.errors import BadInput
from shared.ledger.store_dead import DECIDE_LIMIT, discard_jobs, retry_jobs
from shared.ledger.store_inbox import Matching, dead_groups
from shared.ledger.store_read import list_jobs
from shared.runtime.bodies import Body, Name
from shared.runtime.examples import example
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/dead", tags=["dead letters"], route_class=JsonRoute)
EDITS_MOST = 20


class Filter(Body):
    task: Name | None = None
    queue: Name | None = None


class Which(Body):
    """Exactly one of the three; an empty filter is every dead letter of the tenant."""

    ids: list[Name] | None = Field(None, min_length=1, max_length=DECIDE_LIMIT)
    group: Name | None = None
    filter: Filter | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(part is not None for part in (self.ids, self.group, self.filter)) != 1:
            raise ValueError("give exactly one of ids, group and filter")
        return self

    def matching(self) -> Matching:
        if self.group is not None:
            task, _, fingerprint = self.group.rpartition(":")
            return Matching(task=task, fingerprint=fingerprint)
        if self.filter is not None:
            return Matching(task=self.filter.task, queue=self.filter.queue)
        return Matching(ids=tuple(self.ids or ()))

    def target(self) -> dict[str, Any]:
        """As it was asked for, to be kept."""
        return self.model_dump(include={"ids", "group", "filter"}, exclude_none=True)


class Again(Which):
    """`canary`: so many first, and the rest when all of those have completed. `args` replace all of theirs."""

    canary: int | None = Field(None, ge=1, le=CANARIES_MOST)
    args: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.args is not None and (self.ids is None or self.canary is not None or len(self.ids) > EDITS_MOST):
            raise ValueError(f"args go with at most {EDITS_MOST} ids, and with no canary")
        return self


_ACCEPTED = example(CANARY, 202, "With a canary: the canaries are on their way, and `job` follows them up")


@router.get("", summary="Look at the dead letters", responses=example(DEAD))
async def show_dead(
    *,
    caller: MayReadDead,
    resources: Held,
    page: JobPage,
    task: Annotated[Name | None, Query()] = None,
    queue: Annotated[Name | None, Query()] = None,
    group: Annotated[Name | None, Query()] = None,
) -> dict[str, Any]:
    """Newest first; `groups` are those of the whole inbox, the largest first."""
    if group is not None and task is not None:
        raise BadInput("give a group or a task: a group is of one task", place="query", pointer="/group")
    of_task, _, fingerprint = group.rpartition(":") if group else (task, "", None)
    rows = await list_jobs(
        resources.database, caller.tenant, states=("dead",), queue=queue, task=of_task, fingerprint=fingerprint,
        before=page.after, limit=page.rows,
    )  # fmt: skip
    now_us = resources.database.clock.now_us()
    shown = page.of(rows, lambda row: _item(row, now_us), lambda row: str(row["id"]))
    groups, more = await dead_groups(resources.database, caller.tenant)
    return {**shown, "groups": [group_document(row) for row in groups], "groups_more": more}


@router.post("/retry", summary="Retry dead letters", responses=example(DEAD_RETRIED) | _ACCEPTED)
async def retry(
    body: Annotated[Again, JsonBody(openapi_examples=RETRY_DEAD)],
    caller: MayWriteDead,
    once: Idempotent,
) -> Response:
    """They start over under their old ids. `more` says that the bound left some: ask again.

    With `canary`, so many are retried now, and a job retries all others that match at this moment once every canary has
    completed; its result says what came of it. Where nothing matches there is no job, and the answer is 200.
    """
    async with once.tx() as tx:
        tenant, by, target = caller.tenant, caller.key_id, body.target()
        if body.canary is not None:
            begun = await start_canary(tx, tenant, body.matching(), body.canary, by=by, target=target)
            if begun is not None:
                job_id, canaries = begun
                where = {"Location": f"/v1/jobs/{job_id}"}
                return once.answer(202, {"job": job_id, "canaries": canaries}, where)
        decided = await decide(tx, tenant, body.matching(), retry_jobs, args=body.args)
        await note(tx, tenant, by=by, action="retry", target=target, decided=decided)
        tx.touched.update(decided.done.values())
        return once.answer(200, {"retried": len(decided.done), **decided.counts()})


@router.post("/discard", summary="Discard dead letters", responses=example(DEAD_DISCARDED))
async def discard(
    body: Annotated[Which, JsonBody(openapi_examples=DISCARD_DEAD)],
    caller: MayWriteDead,
    once: Idempotent,
) -> Response:
    """They end as cancelled, and go when retention lets them."""
    async with once.tx() as tx:
        decided = await decide(tx, caller.tenant, body.matching(), discard_jobs)
        await note(tx, caller.tenant, by=caller.key_id, action="discard", target=body.target(), decided=decided)
        return once.answer(200, {"discarded": len(decided.done), **decided.counts()})


def _item(row: Any, now_us: int) -> dict[str, Any]:
    return {**job_line(row, now_us), "group": group_name(row["task"], row["error_fingerprint"] or "")}
