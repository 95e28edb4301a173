"""The event stream of one job: what its watcher sees, told as Server-Sent Events until the job or the stream ends.

Ends with the job's `result`; without one after its limit, when the server closes and when the job is not there any
more: its client comes again with the id that it saw last, and misses nothing. A silent stream says that it lives.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.db.failures import is_transient
from shared.kernel.clock import Clock
from shared.kernel.logs import get_logger
from shared.ledger.following import Seen, chunks_seen, output_data, tell
from shared.ledger.output import Chunk
from shared.ledger.states import TERMINAL
from shared.runtime import sse
from shared.runtime.lifecycle import pause
from shared.runtime.watch import Watched

HEARTBEAT_S = 15.0
RECONNECT_S = 1.0
UNREAD_S = 1.0
Farewell = Callable[[Seen], sse.Event]
log = get_logger(__name__)

EXAMPLE = """retry: 1000

id: 1.running.1763800000000000.0
event: state
data: {"id":"job_01m81s9dnhe47s3tch4srt7qc0","state":"running","attempt":1,"max_attempts":4,"run_at":"…"}

id: 1.running.1763800000000000.1763800000400000
event: progress
data: {"id":"job_01m81s9dnhe47s3tch4srt7qc0","attempt":1,"fraction":0.4,"note":"decoded","at":"…"}

id: 1.running.1763800000000000.1763800000400000.o1-3
event: output
data: {"id":"job_01m81s9dnhe47s3tch4srt7qc0","attempt":1,"offset":0,"text":"Once upon a time"}

id: 1.completed.1763800001000000.1763800000400000.o1-3.result
event: result
data: {"id":"job_01m81s9dnhe47s3tch4srt7qc0","state":"completed","result":{"renditions":["w320","w1280"]}}

"""
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`state`, `progress`, `output` and, at the end, `result` (the job's document), and comments",
        "content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}},
    },
    204: {"description": "the id that was sent is the result's: there is nothing more to come"},
    429: {"description": "too many streams are open: `retry_after_s`"},
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a stream reads what a look does not hold: `document` is a result's data, None when the job is gone;
    `output` the chunks of a fence after a number, at most some.
    """

    document: Callable[[], Awaitable[Mapping[str, Any] | None]]
    output: Callable[[int, int], Awaitable[Sequence[Chunk]]]


async def follow(
    watched: Watched,
    seen: Seen | None,
    source: Source,
    clock: Clock,
    *,
    limit_s: float,
    closing: asyncio.Event | None,
    farewell: Farewell | None = None,
) -> AsyncGenerator[bytes]:
    """`farewell` makes the last event of a stream that ends before the job does, from what its reader has seen."""
    until_s = clock.monotonic_s() + limit_s
    teller = Teller(watched, seen, source)
    yield sse.retry(RECONNECT_S)
    while watched.row is not None and not watched.gone:
        watched.changed.clear()
        async for event in teller.news(watched.row, clock.now_us()):
            yield event
        if teller.done:
            return
        left_s = until_s - clock.monotonic_s()
        if left_s <= 0 or (closing is not None and closing.is_set()):
            if farewell is not None and teller.seen is not None:
                yield farewell(teller.seen).encode()
            return
        if teller.short:
            await pause(min(left_s, UNREAD_S), closing)
            watched.changed.set()
        await pause(min(left_s, HEARTBEAT_S), watched.changed, closing)
        if not watched.changed.is_set():
            yield sse.comment("still here")


class Teller:
    """What one reader has been told so far. `short`: something could not be read, a later look will tell."""

    def __init__(self, watched: Watched, seen: Seen | None, source: Source) -> None:
        self.seen = seen
        self.done = False
        self.short = False
        self._watched = watched
        self._source = source

    async def news(self, row: Mapping[str, Any], now_us: int) -> AsyncGenerator[bytes]:
        self.short = False
        for told in tell(self.seen, row, now_us):
            data: Mapping[str, Any] | None = told.data
            if told.kind == "output" and not data:
                async for event in self._output(row, told.seen):
                    yield event
                if self.short:
                    return
                continue
            if told.kind == "result":
                data = await self._result()
                if data is None:  # it has been brought back, or is gone
                    self.short = True
                    return
                self.done = True
            self.seen = told.seen
            yield sse.Event(told.kind, data, told.seen.id).encode()

    async def _output(self, row: Mapping[str, Any], wanted: Seen) -> AsyncGenerator[bytes]:
        """Chunk after chunk up to what was wanted; each answer of the database is one event."""
        fence, upto = wanted.output
        after = chunks_seen(self.seen) if self.seen is not None and self.seen.fence == fence else 0
        while after < upto:
            chunks = await self._read(fence, after)
            if not chunks:  # a newer attempt has taken them away
                self.short = True
                return
            after = chunks[-1].number
            self.seen = replace(wanted, output=(fence, after))
            data = output_data(row, chunks[0].offset, "".join(chunk.text for chunk in chunks))
            yield sse.Event("output", data, self.seen.id).encode()

    async def _read(self, fence: int, after: int) -> Sequence[Chunk]:
        try:
            return await self._source.output(fence, after)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("stream_unread", error=repr(error))
            return ()

    async def _result(self) -> Mapping[str, Any] | None:
        try:
            found = await self._source.document()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("stream_unread", error=repr(error))
            return None
        return found if found is not None and found["state"] in TERMINAL else None
