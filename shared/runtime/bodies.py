"""Bodies and heads of requests, bounded: what a client sends is never larger, slower or stranger than a named bound.

The default bound holds for every route; a route that takes more is named with its own in `build_app(body_limits=…)`.
Both a declared Content-Length and a streamed body are held to it, the latter while it streams; and it must keep coming:
no long silence, a slowest rate, a longest time. Heads that never end are for `shared.runtime.heads`, what is no JSON
for `shared.runtime.json_bodies`. `Body` is the base of request models: unknown members are refused, so that a misspelt
one is told rather than ignored, and types are those of JSON: neither "5" nor true is a number. What JSON has no type
for must not be a field: it comes as a list.
"""

import asyncio
import time
from collections.abc import Mapping, MutableMapping
from re import Pattern
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Message, Receive

from shared.kernel.errors import HoldfastError, TooLarge

BODY_LIMIT_BYTES = 512 * 1024
HEADERS_LIMIT_BYTES = 32 * 1024
HEADERS_LIMIT = 100
URL_LIMIT_BYTES = 8 * 1024
BODY_SILENCE_S = 20.0  # between two chunks of a body
BODY_GRACE_S = 10.0  # after which a body has come at BODY_RATE_MIN_BYTES a second, averaged from its start
BODY_RATE_MIN_BYTES = 1024
BODY_TIME_MAX_S = 600.0  # of waiting for one body, however large it may be
_FIRST_PRINTABLE = 32
_LINE_ENDS = frozenset("\x85\u2028\u2029")  # of which Unicode, and so the headers of mail, make lines too


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _one_line(value: str) -> str:
    if any(ord(char) < _FIRST_PRINTABLE or char == "\x7f" for char in value):
        raise ValueError("must not hold control characters")
    if not _LINE_ENDS.isdisjoint(value):
        raise ValueError("must be one line: it holds a line separator (U+0085, U+2028 or U+2029)")
    return value


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not hold the character NUL")
    return value


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length=120)]
Text = Annotated[str, StringConstraints(max_length=65_536), AfterValidator(_no_nul)]  # PostgreSQL's text takes no NUL


class HeadTooLargeError(HoldfastError):
    status = 431
    code = "head_too_large"


class UrlTooLongError(HoldfastError):
    status = 414
    code = "url_too_long"


class BodyRefused(HTTPException):
    """Raised while a body is read: FastAPI lets only HTTPExceptions through there."""

    def __init__(self, error: HoldfastError) -> None:
        super().__init__(error.status, error.message)
        self.error = error


class SlowBodyError(HoldfastError):
    status = 408
    code = "slow_body"


class Limits:
    """`body_limits`: "/v1/media" → bytes, by path template; any other route has `default` bytes."""

    def __init__(self, default: int, body_limits: Mapping[str, int]) -> None:
        self._default = default
        self._special: list[tuple[Pattern[str], int]] = [
            (compile_path(path)[0], limit) for path, limit in body_limits.items()
        ]

    def of(self, path: str) -> int:
        for pattern, limit in self._special:
            if pattern.match(path):
                return limit
        return self._default


def check_head(scope: MutableMapping[str, Any]) -> None:
    """Raises HeadTooLargeError, UrlTooLongError; the server's own parser has bounds of its own before these."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if size > HEADERS_LIMIT_BYTES or len(headers) > HEADERS_LIMIT:
        raise HeadTooLargeError(
            f"{len(headers)} headers of {size} bytes came, the limits are {HEADERS_LIMIT} and {HEADERS_LIMIT_BYTES}",
            limit_bytes=HEADERS_LIMIT_BYTES,
            found_bytes=size,
        )
    length = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    if length > URL_LIMIT_BYTES:
        raise UrlTooLongError(f"the URL is {length} bytes, the limit is {URL_LIMIT_BYTES}", limit_bytes=URL_LIMIT_BYTES)


def check_length(declared: str | None, limit: int) -> None:
    """Raises TooLarge before a byte of the body is read."""
    if declared is not None and declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(int(declared[:20]), limit, "")


def bounded(receive: Receive, limit: int) -> Receive:
    """`receive` that refuses a body past `limit` bytes while it streams, and one that falls silent or drips.

    What counts is the time that was spent waiting for the client: a handler that reads slowly does it no harm.
    """
    size = 0
    waited_s = 0.0
    done = False

    async def receiving() -> Message:
        nonlocal size, waited_s, done
        if done:
            return await receive()
        left_s = min(BODY_GRACE_S + size / BODY_RATE_MIN_BYTES, BODY_TIME_MAX_S) - waited_s
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(left_s, BODY_SILENCE_S)):
                message = await receive()
        except TimeoutError:
            raise BodyRefused(_slow(size, left_s)) from None
        waited_s += time.monotonic() - began
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            done = not message.get("more_body", False)
            if size > limit:
                raise BodyRefused(_too_large(size, limit, "at least "))
        return message

    return receiving


def _slow(size: int, left_s: float) -> SlowBodyError:
    if left_s > BODY_SILENCE_S:
        return SlowBodyError(f"nothing of the body came for {BODY_SILENCE_S:g} s")
    return SlowBodyError(
        f"the body came too slowly, {size} bytes so far: after {BODY_GRACE_S:g} s, it must have come at"
        f" {BODY_RATE_MIN_BYTES} bytes a second, and after {BODY_TIME_MAX_S:g} s as a whole"
    )


def _too_large(found: int, limit: int, least: str) -> TooLarge:
    return TooLarge(
        f"the body is {least}{found} bytes, the limit is {limit}",
        code="body_too_large",
        limit_bytes=limit,
        found_bytes=found,
    )
