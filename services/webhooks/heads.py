"""One connection to a receiver: aiohttp's own protocol, with a bound on how many heads may come on it for one request.

The invariant: a receiver is cut off at its seventeenth informational answer, whether anybody waits for an answer or
the connection is idle in the pool. aiohttp skips any number of them, and reads on while it is idle: a flood of
`100 Continue` held the event loop of a worker for seconds and filled its memory by 600 MB before the pool let go.
"""

from typing import Any, Final

from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL as _NO_CAUSE
from aiohttp.http_exceptions import HttpProcessingError

INFORMATIONAL_MAX: Final = 16


class BoundedHandler(ResponseHandler):
    """`requests` so far; `heard`: something came since the newest began."""

    requests = 0
    heard = False
    _heads = 0

    def set_response_params(self, **params: Any) -> None:
        """Once for each request, before its answer is read."""
        self._heads = 0
        self.requests += 1
        self.heard = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        self.heard = True
        super().data_received(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _NO_CAUSE) -> None:
        """Also of whoever reads the body: what is no HTTP after the head would be waited for until the deadline."""
        super().set_exception(exc, exc_cause)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc, exc_cause)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Once for each head, as soon as it is parsed."""
        self._heads += 1
        if self._heads <= INFORMATIONAL_MAX + 1:  # and the answer itself
            super().feed_data(data, size)
        elif self.transport is not None and not self.transport.is_closing():
            words = f"more than {INFORMATIONAL_MAX} informational answers came instead of one"
            self.set_exception(HttpProcessingError(code=0, message=words))
            self.transport.abort()
