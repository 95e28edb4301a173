"""Headers that a tenant adds to the deliveries of an endpoint: which are accepted, and how many.

Pure. The invariant: what passes cannot change where a request goes, how it is framed, or what is signed.
Refuses the names that HTTP framing, connections, proxies and Standard Webhooks own, and every control character
(a line break in a value would begin a header, or a request, of the tenant's own).
"""

import re
from collections.abc import Mapping
from typing import Final

from shared.kernel.errors import BadInput

COUNT_MAX: Final = 20
NAME_MAX_CHARS: Final = 100
VALUE_MAX_CHARS: Final = 2_000
TOTAL_MAX_CHARS: Final = 8_000

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
_RESERVED_PREFIXES: Final = ("webhook-", "proxy-", "sec-")
_RESERVED: Final = frozenset(
    {
        # framing and routing: ours to set, or a smuggled request
        "host", "content-length", "content-type", "content-encoding", "content-md5", "date", "expect",
        # hop by hop (RFC 9110 §7.6.1 and those that RFC 2616 listed)
        "connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade", "http2-settings",
        # who says where a request came from
        "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip",
        # redirected targets that some proxies obey
        "x-original-url", "x-rewrite-url", "x-http-method-override",
        # the answer is stored as it comes: no compression is asked for
        "accept-encoding", "range", "cookie", "user-agent",
    }
)  # fmt: skip


class HeaderRefused(BadInput):
    """`name` is the header at fault, cut to a length that can be shown."""

    code = "header_refused"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"header {name[:NAME_MAX_CHARS]!r}: {reason}", name=name[:NAME_MAX_CHARS], reason=reason)
        self.name = name[:NAME_MAX_CHARS]
        self.reason = reason


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The same headers, names in lower case and values trimmed; HeaderRefused at the first that cannot be sent."""
    if len(headers) > COUNT_MAX:
        raise HeaderRefused("", f"there are more than {COUNT_MAX} headers")
    checked: dict[str, str] = {}
    total = 0
    for name, value in headers.items():
        lowered = _check_name(name)
        if lowered in checked:
            raise HeaderRefused(name, "appears twice")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise HeaderRefused(name, "the value holds something other than printable ASCII")
        if len(value) > VALUE_MAX_CHARS:
            raise HeaderRefused(name, f"the value has more than {VALUE_MAX_CHARS} characters")
        checked[lowered] = value.strip(" \t")
        total += len(name) + len(value)
    if total > TOTAL_MAX_CHARS:
        raise HeaderRefused("", f"all headers together have more than {TOTAL_MAX_CHARS} characters")
    return checked


def _check_name(name: str) -> str:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise HeaderRefused(str(name), "the name holds something other than the letters, digits and signs of a token")
    if len(name) > NAME_MAX_CHARS:
        raise HeaderRefused(name, f"the name has more than {NAME_MAX_CHARS} characters")
    lowered = name.lower()
    if lowered in _RESERVED or lowered.startswith(_RESERVED_PREFIXES):
        raise HeaderRefused(name, "the name is reserved")
    return lowered
