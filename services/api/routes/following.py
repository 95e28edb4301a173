"""A job's events as they come: states, progress, output, and the result that ends them; its output as plain text."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import PlainTextResponse, Response

from services.api import stream
from services.api.deps import Held, HeldSettings, HeldWatch, JobId, MayReadJobs
from services.api.lookup import source_of
from services.api.written import PLACE_PATTERN, RESPONSES, parse_place, read_written
from shared.kernel.errors import NotFound
from shared.ledger.following import ID_LIMIT_CHARS, parse_id, tell
from shared.ledger.store_read import read_job
from shared.runtime.sse import EventStream, closing_of

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("/{job_id}/events", summary="Follow a job", response_class=Response, responses=stream.RESPONSES)
async def follow_job(
    request: Request,
    job_id: JobId,
    *,
    caller: MayReadJobs,
    resources: Held,
    watch: HeldWatch,
    settings: HeldSettings,
    last_event_id: Annotated[str | None, Header(description="what was seen last: only what differs is told")] = None,
    seen_last: Annotated[
        str | None, Query(alias="last_event_id", max_length=ID_LIMIT_CHARS, description="the same, without the header")
    ] = None,
) -> Response:
    """Its states, progress and output as they come, then its result: Server-Sent Events; resumed by `Last-Event-ID`."""
    database = resources.database
    if await read_job(database, job_id, caller.tenant) is None:
        raise NotFound(f"there is no job {job_id}")
    seen, clock = parse_id(last_event_id or seen_last), database.clock
    watched = await watch.join(job_id, caller.key_id)
    if watched.row is not None and seen is not None and seen.result and not tell(seen, watched.row, clock.now_us()):
        watch.leave(watched)
        return Response(status_code=204)
    closing, limit_s = closing_of(request.scope), settings.watch_limit_s
    source = source_of(database, job_id, caller.tenant)
    events = stream.follow(watched, seen, source, clock, limit_s=limit_s, closing=closing)
    return EventStream(events, limit_s, on_end=partial(watch.leave, watched))


@router.get(
    "/{job_id}/output", summary="Read what a job has written", response_class=PlainTextResponse, responses=RESPONSES
)
async def show_output(
    job_id: JobId,
    *,
    caller: MayReadJobs,
    resources: Held,
    after: Annotated[
        str | None, Query(pattern=PLACE_PATTERN, description="`Holdfast-Output-Next` of the answer before")
    ] = None,
) -> Response:
    """The text of its newest attempt; with `after` only what has come since, or all when another attempt has begun."""
    row = await read_job(resources.database, job_id, caller.tenant)
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    text, headers = await read_written(resources.database, row, parse_place(after))
    return PlainTextResponse(text, headers=headers)
