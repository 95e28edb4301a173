"""What came of one HTTP attempt, and what it means for the delivery.

Pure. The invariant: the status line decides. A 2xx whose body was slow, endless or broken is a success, for the
receiver has taken the message and sending it again would duplicate it; the error is kept for people to read.
Refuses nothing: every answer has an outcome.
"""

import zlib
from dataclasses import dataclass
from typing import Final, Literal

from shared.runtime.retry_after import parse_retry_after

BODY_CAP_BYTES: Final = 20_000
HEADERS_MAX: Final = 64
HEADERS_CAP_CHARS: Final = 8_192
MESSAGE_MAX_CHARS: Final = 300
RETRY_AFTER_MAX_S: Final = 86_400.0

ErrorKind = Literal[
    "egress",  # we refuse to connect there
    "dns",
    "refused",  # nothing listens
    "connect",  # unreachable, reset while connecting, …
    "tls",
    "timeout",  # the total deadline passed
    "disconnected",  # the connection ended before the answer did
    "protocol",  # what came back is not HTTP
    "too_large",  # the head of the answer passed the bounds
    "request",  # what we were told to send cannot be sent
    "proxy",  # the operator's proxy does not connect us
    "oauth2",  # the token that the endpoint asks for cannot be had
]
CONTROL_HEADER: Final = "webhook-delivery"
WISH_HEADER: Final = "retry-after"
HEEDED: Final = frozenset({CONTROL_HEADER, WISH_HEADER})
Control = Literal["abort", "disable"]
OutcomeKind = Literal["success", "gone", "throttled", "retry"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt as it was seen from here.

    `status` is None when no status line came; `error` may stand beside a status when the body failed after it.
    `body` is at most 20,000 bytes of the (decompressed) body as text, `headers` at most 64 of them, those that are
    heeded first, else as they came.
    """

    status: int | None
    error: ErrorKind | None
    message: str | None
    latency_ms: float
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    body_truncated: bool = False

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`retry_after_s`: the receiver's own wish, at least 0 and bounded; the schedule has the last word."""

    kind: OutcomeKind
    reason: str
    retry_after_s: float | None = None


def classify(answer: Answer, *, now_s: float, retry_after_max_s: float = RETRY_AFTER_MAX_S) -> Outcome:
    """Read an answer as Standard Webhooks does; `now_s` is wall time, for a Retry-After that is a date."""
    status = answer.status
    if status is None:
        return Outcome("retry", answer.error or "unknown")
    if 200 <= status < 300:
        return _SUCCESS
    reason = f"http_{status}"
    if status == 410:
        return Outcome("gone", reason)
    wish = parse_retry_after(answer.header(WISH_HEADER), now_s=now_s, max_s=retry_after_max_s)
    return Outcome("throttled" if status in (429, 502, 504) else "retry", reason, wish)


def control_of(answer: Answer) -> Control | None:
    """What the receiver asks for by `webhook-delivery`: nothing more of this delivery, or of any to this endpoint.

    Several words are parted by commas or stand in lines of their own, the stronger one counts, and words that nobody
    knows say nothing.
    """
    lines = [value for key, value in answer.headers if key.lower() == CONTROL_HEADER]
    words = {word.strip().lower() for line in lines for word in line.split(",")}
    if "disable" in words:
        return "disable"
    return "abort" if "abort" in words else None


def body_text(raw: bytes, encoding: str, *, complete: bool) -> tuple[str, bool]:
    """(text, truncated) of the bytes that were read; `complete` says whether they are the whole body.

    Decompression stops at the cap, whatever the input promises; what cannot be decompressed is shown as it came.
    """
    if encoding in ("gzip", "x-gzip", "deflate"):
        raw, complete = _inflate(raw, encoding, complete)
    if len(raw) > BODY_CAP_BYTES:
        raw, complete = raw[:BODY_CAP_BYTES], False
    # A NUL is text to Python and to JSON, but PostgreSQL cannot store it.
    return raw.decode("utf-8", "replace").replace("\x00", "\ufffd"), not complete


def _inflate(raw: bytes, encoding: str, complete: bool) -> tuple[bytes, bool]:
    window = zlib.MAX_WBITS | 32  # gzip or zlib by their header
    if encoding == "deflate" and raw and raw[0] & 0x0F != 8:
        window = -zlib.MAX_WBITS  # servers that send bare deflate under that name
    machine = zlib.decompressobj(window)
    try:
        plain = machine.decompress(raw, BODY_CAP_BYTES + 1)
    except zlib.error:
        return raw, complete
    return plain, complete and machine.eof


def clean(text: str, limit_chars: int = MESSAGE_MAX_CHARS) -> str:
    """Bounded, and storable everywhere: no NUL, no lone surrogate (aiohttp makes them of bytes outside UTF-8)."""
    if not text.isascii():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text[:limit_chars].replace("\x00", "\ufffd")


_SUCCESS: Final = Outcome("success", "ok")
