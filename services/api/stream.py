"""The event stream of one job: what its watcher sees, told as Server-Sent Events until the job or the stream ends.

Ends with the job's `result`; without one after its limit, when the server closes and when the job is not there any
more: its client comes again with the id that it saw last, and misses nothing. A silent stream says that it lives.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from shared.db.failures import is_transient
from shared.kernel.clock import Clock
from shared.kernel.logs import get_logger
from shared.ledger.following import Seen, tell
from shared.ledger.states import TERMINAL
from shared.runtime import sse
from shared.runtime.lifecycle import pause
from shared.runtime.watch import Watched

HEARTBEAT_S = 15.0
RECONNECT_S = 1.0
UNREAD_S = 1.0
Document = Callable[[], Awaitable[Mapping[str, Any] | None]]
log = get_logger(__name__)

EXAMPLE = """retry: 1000

id: 1.running.1763800000000000.0
event: state
data: {"id":"job_01m81s9dnhe47s3tch4srt7qc0","state":"running","attempt":1,"max_attempts":4,"run_at":"…"}

id: 1.running.1763800000000000.1763800000400000
event: progress
data: {"id":"job_01m81s9dnhe47s3tch4srt7qc0","attempt":1,"fraction":0.4,"note":"decoded","at":"…"}

id: 1.completed.1763800001000000.1763800000400000.result
event: result
data: {"id":"job_01m81s9dnhe47s3tch4srt7qc0","state":"completed","result":{"renditions":["w320","w1280"]}}

"""
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`state`, `progress` and, at the end, `result` (the job's document); comments in between",
        "content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}},
    },
    204: {"description": "the id that was sent is the result's: there is nothing more to come"},
    429: {"description": "too many streams are open: `retry_after_s`"},
}


async def follow(
    watched: Watched,
    seen: Seen | None,
    document: Document,
    clock: Clock,
    *,
    limit_s: float,
    closing: asyncio.Event | None,
) -> AsyncGenerator[bytes]:
    """`document` reads what a `result` holds; None when the job is gone."""
    until_s = clock.monotonic_s() + limit_s
    yield sse.retry(RECONNECT_S)
    while not watched.gone and watched.row is not None:
        watched.changed.clear()
        for told in tell(seen, watched.row, clock.now_us()):
            data: Mapping[str, Any] | None = told.data
            if told.kind == "result":
                data = await _ended(document)
                if data is None:  # it has been brought back, or is gone: a later look will tell
                    await asyncio.sleep(UNREAD_S)
                    watched.changed.set()
                    break
            seen = told.seen
            yield sse.Event(told.kind, data, seen.id).encode()
            if told.kind == "result":
                return
        left_s = until_s - clock.monotonic_s()
        if left_s <= 0 or (closing is not None and closing.is_set()):
            return
        await pause(min(left_s, HEARTBEAT_S), watched.changed, closing)
        if not watched.changed.is_set():
            yield sse.comment("still here")


async def _ended(document: Document) -> Mapping[str, Any] | None:
    try:
        found = await document()
    except Exception as error:
        if not is_transient(error):
            raise
        log.warning("stream_unread", error=repr(error))
        return None
    return found if found is not None and found["state"] in TERMINAL else None
