"""Prompts for the language model: each is a durable job at once; its answer is streamed while that is quick.

One commit stands before the first word, so no prompt is lost with a process, a connection or a deploy. Whoever accepts
Server-Sent Events reads the job's events in the same response until the budget is over, and then at the job's own
address; everybody else is told that address at once. Refuses prompts while no model is configured.
"""

from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request
from fastapi import Body as JsonBody
from pydantic import Field
from starlette.responses import Response

from services.api import stream
from services.api.deps import Held, HeldLlm, HeldSettings, HeldWatch, MayWritePrompts
from services.api.lookup import source_of
from services.api.settings import ApiSettings
from shared.contracts.commands.api import CompletePrompt
from shared.kernel.errors import NotFound, Overloaded, TooLarge
from shared.kernel.logs import get_logger
from shared.ledger.following import Seen
from shared.runtime import sse
from shared.runtime.bodies import Body, Text
from shared.runtime.callers import Caller
from shared.runtime.idempotency import Idempotent, Once, Replay
from shared.runtime.json_bodies import JsonRoute
from shared.runtime.resources import Resources
from shared.runtime.watch import JobWatch
from shared.transport.enqueue import enqueue

LANE = "llm"
log = get_logger(__name__)
router = APIRouter(prefix="/prompts", tags=["prompts"], route_class=JsonRoute)


class Prompt(Body):
    prompt: Annotated[Text, Field(min_length=1)]
    system: Text | None = None
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)

    @property
    def size_bytes(self) -> int:
        return len(self.prompt.encode()) + len((self.system or "").encode())


_PROMPTS = {
    "short": {"summary": "A question", "value": {"prompt": "Why is the sky blue? In one sentence."}},
    "instructed": {
        "summary": "With instructions and bounds",
        "value": {"system": "You answer in German.", "prompt": "Why is the sky blue?", "max_tokens": 200},
    },
}
_STREAM = stream.EXAMPLE.rpartition("id: ")[0] + (
    "id: 1.running.1763800000000000.1763800000400000.o1-3\nevent: later\n"
    'data: {"job":"job_01m81s9dnhe47s3tch4srt7qc0","events":"/v1/jobs/job_01m81s9dnhe47s3tch4srt7qc0/events",'
    '"last_event_id":"1.running.1763800000000000.1763800000400000.o1-3"}\n\n'
)
_ACCEPTED = {"job": "job_01m81s9dnhe47s3tch4srt7qc0", "events": "/v1/jobs/job_01m81s9dnhe47s3tch4srt7qc0/events"}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "with `Accept: text/event-stream`: the job's events; `later` if the budget is over first",
        "content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}, "example": _STREAM}},
    },
    202: {
        "description": "accepted: a job, whose `events` tell the answer",
        "content": {"application/json": {"schema": {"type": "object"}, "example": _ACCEPTED}},
    },
    404: {"description": "`llm_off`: no language model is configured"},
    413: {"description": "`prompt_too_large`: `limit_bytes`, `found_bytes`"},
}


@router.post("", status_code=202, summary="Ask the language model", response_class=Response, responses=_RESPONSES)
async def ask(
    request: Request,
    body: Annotated[Prompt, JsonBody(openapi_examples=_PROMPTS)],
    *,
    caller: MayWritePrompts,
    once: Idempotent,
    resources: Held,
    watch: HeldWatch,
    settings: HeldSettings,
    llm: HeldLlm,
    accept: Annotated[str, Header(description="`text/event-stream` streams the answer")] = "",
) -> Response:
    """A prompt becomes a job; who accepts Server-Sent Events reads its answer in this response, for a while."""
    if llm is None:
        raise NotFound("this system asks no language model: HOLDFAST_API_LLM_URL is not set", code="llm_off")
    check_size(body, settings)
    streams = sse.MEDIA_TYPE in accept.lower()
    try:
        job_id, answer = await accepted(once, body, caller.tenant)
    except Replay as replay:
        if not streams:
            raise
        job_id, answer = orjson.loads(replay.response.body)["job"], replay.response
    if not streams:
        return answer
    return await answered(request, resources, watch, settings, caller, job_id) or answer


def check_size(body: Prompt, settings: ApiSettings) -> None:
    limit = settings.llm_prompt_limit_bytes
    if body.size_bytes > limit:
        words = f"the prompt is {body.size_bytes} bytes, the limit is {limit}"
        raise TooLarge(words, code="prompt_too_large", limit_bytes=limit, found_bytes=body.size_bytes)


async def accepted(once: Once, body: Prompt, tenant: str) -> tuple[str, Response]:
    async with once.tx() as tx:
        job_id = await enqueue(tx, CompletePrompt(**body.model_dump()), tenant=tenant, lane=LANE)
        document = {"job": job_id, "events": events_of(job_id)}
        return job_id, once.answer(202, document, {"Location": f"/v1/jobs/{job_id}"})


async def answered(
    request: Request, resources: Resources, watch: JobWatch, settings: ApiSettings, caller: Caller, job_id: str
) -> Response | None:
    """The stream; None when there can be none: too many are open, or the job of a replay has been purged."""
    try:
        watched = await watch.join(job_id, caller.key_id, eager=True)
    except Overloaded:
        return None
    except Exception as error:  # the prompt is accepted: whoever asked must hear of its job
        log.warning("prompt_not_streamed", job=job_id, error=repr(error))
        return None
    if watched.gone:
        watch.leave(watched)
        return None
    limit_s = min(settings.llm_budget_s, settings.watch_limit_s)
    source = source_of(resources.database, job_id, caller.tenant)
    events = stream.follow(
        watched, None, source, resources.database.clock, limit_s=limit_s, closing=sse.closing_of(request.scope),
        farewell=partial(later, job_id),
    )  # fmt: skip
    answer = sse.EventStream(events, limit_s, on_end=partial(watch.leave, watched))
    answer.headers["Location"] = f"/v1/jobs/{job_id}"
    return answer


def later(job_id: str, seen: Seen) -> sse.Event:
    """The last event of a stream whose budget is over: where to go on, and from where."""
    return sse.Event("later", {"job": job_id, "events": events_of(job_id), "last_event_id": seen.id}, seen.id)


def events_of(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/events"
