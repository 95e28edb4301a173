"""The tree of errors that Holdfast raises on purpose; every one knows its code and its HTTP status.

HoldfastError
├── BadInput          422  what was sent cannot be accepted; `pointer` says where
├── NotAllowed        401 / 403
├── NotFound          404
├── Conflict          409  the state of the thing does not allow it
├── TooLarge          413  a named bound was passed
├── WrongContentType  415  it is called something that is not taken here
├── Overloaded        429  a bounded queue is full; `retry_after_s` says when to come back
├── Unavailable       503  a part that this needs is not there
└── Misconfigured     exit 2 of the command line: a setting, a port, a missing dependency
"""

from typing import Any


class HoldfastError(Exception):
    status = 500
    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details = details


class BadInput(HoldfastError):
    status = 422
    code = "invalid"


class Unauthenticated(HoldfastError):
    status = 401
    code = "unauthenticated"


class NotAllowed(HoldfastError):
    status = 403
    code = "not_allowed"


class NotFound(HoldfastError):
    status = 404
    code = "not_found"


class Conflict(HoldfastError):
    status = 409
    code = "conflict"


class TooLarge(HoldfastError):
    status = 413
    code = "too_large"


class WrongContentType(HoldfastError):
    status = 415
    code = "wrong_content_type"

    def __init__(self, message: str, *, expected: str, found: str | None) -> None:
        super().__init__(message, expected=expected, found=found)


class Overloaded(HoldfastError):
    status = 429
    code = "overloaded"


class Unavailable(HoldfastError):
    status = 503
    code = "unavailable"


class Misconfigured(HoldfastError):
    """Told to people in one sentence; the command line ends with exit 2."""

    code = "misconfigured"
