"""The dead-letter inbox: what gave up, grouped by what failed alike, until somebody retries or discards it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import Field, model_validator
from starlette.responses import Response

from services.api.deps import Held, JobPage, MayReadDead, MayWriteDead
from services.api.documents import group_document, group_name, job_line
from shared.db.tx import Tx
from shared.kernel.errors import BadInput
from shared.ledger.store_dead import (
    DECIDE_LIMIT,
    Matching,
    dead_groups,
    dead_matching,
    discard_jobs,
    known_states,
    retry_jobs,
)
from shared.ledger.store_read import list_jobs
from shared.runtime.bodies import Body, Name
from shared.runtime.idempotency import Idempotent
from shared.runtime.json_bodies import JsonRoute

router = APIRouter(prefix="/dead", tags=["dead letters"], route_class=JsonRoute)
Decide = Callable[[Tx, str, Sequence[str], int], Awaitable[dict[str, str]]]


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
        return Matching(task=self.filter.task, queue=self.filter.queue) if self.filter else Matching()


@router.get("")
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
    groups = [group_document(row) for row in await dead_groups(resources.database, caller.tenant)]
    return {**shown, "groups": groups}


@router.post("/retry")
async def retry(body: Which, caller: MayWriteDead, once: Idempotent) -> Response:
    """They start over under their old ids. `more` says that the bound left some: ask again."""
    async with once.tx() as tx:
        counts, queues = await _decide(tx, caller.tenant, body, retry_jobs)
        tx.touched.update(queues)
        return once.answer(200, {"retried": counts.pop("done"), **counts})


@router.post("/discard")
async def discard(body: Which, caller: MayWriteDead, once: Idempotent) -> Response:
    """They end as cancelled, and go when retention lets them."""
    async with once.tx() as tx:
        counts, _ = await _decide(tx, caller.tenant, body, discard_jobs)
        return once.answer(200, {"discarded": counts.pop("done"), **counts})


async def _decide(tx: Tx, tenant: str, which: Which, decide: Decide) -> tuple[dict[str, Any], set[str]]:
    if which.ids:
        ids, more = list(dict.fromkeys(which.ids)), False
    else:
        ids, more = await dead_matching(tx, tenant, which.matching())
    known = await known_states(tx, tenant, ids) if which.ids else {}
    done = await decide(tx, tenant, ids, tx.now_us) if ids else {}
    left = [job_id for job_id in ids if job_id not in done] if which.ids else []
    counts = {
        "done": len(done),
        "more": more,
        "unknown": [job_id for job_id in left if job_id not in known],
        "not_dead": [job_id for job_id in left if job_id in known],
    }
    return counts, set(done.values())


def _item(row: Any, now_us: int) -> dict[str, Any]:
    return {**job_line(row, now_us), "group": group_name(row["task"], row["error_fingerprint"] or "")}
