"""The server's end of a connection: uvicorn's own protocol, with bounds on heads and an answer that is a problem.

Started by `uvicorn --http shared.runtime.heads:BoundedHttp …`. The invariants: whoever connects has sent a whole head
in HEAD_LIMIT_S and HEAD_LIMIT_BYTES, or is cut off; and what is left of a body that was answered before its end is
read for LINGER_S at most. uvicorn bounds only the silence between two requests. No answer is cut for it.

When the server begins to close, an event in `scope["state"][CLOSING]` tells streams to end: uvicorn itself waits for
answers to end before the app hears of it.
"""

import asyncio
from asyncio import TimerHandle, Transport
from typing import Any

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.runtime.problems import problem

HEAD_LIMIT_S = 10.0
HEAD_LIMIT_BYTES = 64 * 1024  # of what is held before `bodies.check_head` sees a head, whose bounds are closer
LINGER_S = 30.0  # a client that only reads when it has written everything should still see its answer
CLOSING = "holdfast.closing"


class BoundedHttp(HttpToolsProtocol):
    _timer: TimerHandle | None = None
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state.setdefault(CLOSING, asyncio.Event())  # one for the server: its connections share this
        self._arm(HEAD_LIMIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.app_state[CLOSING].set()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES and self._idle:
                words = f"the head is more than {HEAD_LIMIT_BYTES} bytes"
                self._refuse(problem(431, "head_too_large", words, limit_bytes=HEAD_LIMIT_BYTES))
        elif self._timer is None and self._idle:
            self._arm(LINGER_S)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._arm(HEAD_LIMIT_S)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(problem(400, "unreadable", f"this cannot be read as HTTP/1.1: {msg}"))

    @property
    def _idle(self) -> bool:
        """No request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _too_slow(self) -> None:
        if not self._idle:  # the next head of a pipeline, which may be waiting for us
            self._arm(HEAD_LIMIT_S)
        elif self._in_head:
            self._refuse(problem(408, "slow_head", f"the head did not end within {HEAD_LIMIT_S:g} s"))
        else:
            self.transport.close()

    def _refuse(self, answer: Response) -> None:
        """Past the app, and not into the middle of what it says."""
        if self.transport.is_closing() or (not self._idle and self.cycle.response_started):
            self.transport.close()
            return
        named: list[Any] = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in named)
        self.transport.write(STATUS_LINE[answer.status_code] + lines + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _arm(self, limit_s: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(limit_s, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
