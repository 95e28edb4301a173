"""Server-Sent Events (text/event-stream): writing them, streaming them, and reading them as the HTML standard says.

An `EventStream` ends when its events do, when its client goes, or at its limit even if the client does not read; then
it closes its events at once, so that what they hold is let go. `closing_of` tells an app that its server is closing:
a stream that did not ask would hold a graceful shutdown up until the server's patience ends.
"""

import asyncio
import codecs
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.runtime.heads import CLOSING

MEDIA_TYPE = "text/event-stream"
SLOW_S = 15.0  # past its events' own limit: a client that has stopped reading
LINE_LIMIT_CHARS = 4 * 1024 * 1024
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # proxies must not hold events back


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: Any
    id: str = ""

    def encode(self) -> bytes:
        """`id` and `name` hold no line breaks; JSON has none."""
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.name}\ndata: ".encode() + orjson.dumps(self.data) + b"\n\n"


def comment(words: str = "") -> bytes:
    return f": {words}\n\n".encode()


def retry(after_s: float) -> bytes:
    """How long the client waits before it connects again."""
    return f"retry: {round(after_s * 1000)}\n\n".encode()


class EventStream(Response):
    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncGenerator[bytes], limit_s: float, *, on_end: Callable[[], None]) -> None:
        """`limit_s` is what the events themselves keep to; `on_end` is called once, whatever ends the stream."""
        super().__init__(None, headers=HEADERS)
        del self.headers["content-length"]
        self._on_end = on_end
        self._events = events
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        sending = asyncio.create_task(self._send(send), name="events")
        gone = asyncio.create_task(_until_gone(receive), name="events-client")
        try:
            await asyncio.wait({sending, gone}, timeout=self._limit_s + SLOW_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = sending.done()
            for task in (sending, gone):
                task.cancel()
            self._on_end()
            await asyncio.gather(sending, gone, return_exceptions=True)
            await self._events.aclose()
        if ended:
            sending.result()  # raises what the events raised: the server cuts the connection

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._events:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except ClientDisconnect:
        return


def closing_of(scope: Mapping[str, Any]) -> asyncio.Event | None:
    """Set when the server begins to close; None under a server that does not tell (see `shared.runtime.heads`)."""
    found = scope.get("state", {}).get(CLOSING)
    return found if isinstance(found, asyncio.Event) else None


class Reader:
    """Reads a stream as it comes: bytes in any pieces → the events that they end. Remembers id and retry hint."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_s: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._skip_lf = False
        self._begun = False
        self._name = ""
        self._data: list[str] = []
        self._id = last_id

    def feed(self, piece: bytes) -> list[Event]:
        """`data` of the events is text. Raises ValueError for a line without an end, past LINE_LIMIT_CHARS."""
        text = self._decoder.decode(piece)
        if not self._begun and text:
            text, self._begun = text.removeprefix("\ufeff"), True
        if self._skip_lf and text:
            text, self._skip_lf = text.removeprefix("\n"), False
        self._skip_lf = self._skip_lf or text.endswith("\r")
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if len(self._rest) > LINE_LIMIT_CHARS:
            raise ValueError("a line of the event stream has no end")
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\x00" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        name, data = self._name, self._data
        self._name, self._data = "", []
        return Event(name or "message", "\n".join(data), self.last_id) if data else None
