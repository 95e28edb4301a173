"""What a failed attempt is called, and what happened in words: for people who never saw our HTTP client.

Pure. The invariants: one bounded sentence; none of the bytes that came, and no number that the client made up for a
status. Refuses nothing: what nobody foresaw is a connection that ended.
"""

import errno
import ssl
from collections.abc import Iterator
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from services.webhooks.answers import ErrorKind, clean
from shared.runtime.addresses import EgressRefused
from shared.runtime.proxy import ProxyFailed

# ValueError: a header that cannot be written. RuntimeError: uvloop's and aiohttp's for a transport that closed under
# a read or a write.
EXPECTED: Final = (
    aiohttp.ClientError, HttpProcessingError, EgressRefused, OSError, TimeoutError, ValueError, RuntimeError,
)  # fmt: skip

# In this order: aiohttp's classes inherit from several of these.
_KINDS: Final[tuple[tuple[type[BaseException], ErrorKind], ...]] = (
    (EgressRefused, "egress"),
    (ProxyFailed, "proxy"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientSSLError, "tls"),
    (ssl.SSLError, "tls"),
    (aiohttp.ClientConnectorError, "connect"),
    (HttpProcessingError, "protocol"),
    (aiohttp.InvalidURL, "request"),
    (aiohttp.ClientError, "disconnected"),
    (OSError, "disconnected"),
    (ValueError, "request"),
)


def explain(error: BaseException, *, timeout_s: float, part: str) -> tuple[ErrorKind, str]:
    """(kind, one bounded sentence); `part` is what was waited for: "answer", "end of the body"."""
    kind = _kind(error)
    return kind, clean(_words(kind, error, timeout_s, part))


def _kind(error: BaseException) -> ErrorKind:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED:
        return "refused"
    if any(isinstance(cause, LineTooLong) for cause in _causes(error)):
        return "too_large"
    return next((kind for cls, kind in _KINDS if isinstance(error, cls)), "disconnected")


def _words(kind: ErrorKind, error: BaseException, timeout_s: float, part: str) -> str:
    said = str(error) or type(error).__name__
    if kind == "timeout":
        said = f"no {part} within {timeout_s:g} s"
    elif kind == "too_large":
        said = "a line in the head of the answer is too long"
    elif kind == "protocol" and isinstance(error, HttpProcessingError):
        said = " ".join(error.message.partition("\n\n")[0].split()).rstrip(":.")  # a dump of the bytes comes after
        said = f"what came is not HTTP: {said}" if error.code else said  # those without a code are our own words
    elif kind == "disconnected":
        said = f"the connection closed before the {part} came{_reason(error)}"
    elif kind == "tls":
        said = f"TLS failed{_tls_reason(error)}"
    elif kind == "refused" and isinstance(error, aiohttp.ClientConnectorError):
        said = f"nothing listens at {error.host}:{error.port}"
    elif kind == "dns" and isinstance(error, aiohttp.ClientConnectorError):
        said = f"no address for {error.host}{_reason(error)}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        said = f"no way to {error.host}:{error.port}{_reason(error)}"
    return said


def _reason(error: BaseException) -> str:
    """The system's own words, if it has any."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    words = cause.strerror if isinstance(cause, OSError) else None
    return f": {words}" if words else ""


def _tls_reason(error: BaseException) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    cause = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f": {cause.verify_message}"
    words = cause.reason if isinstance(cause, ssl.SSLError) else None
    return f": {words.replace('_', ' ').lower()}" if words else _reason(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
