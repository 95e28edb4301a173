"""Conditional requests: whether an entity tag is among those that a header lists (RFC 9110 §8.8.3, §13.1)."""

import re
from collections.abc import Sequence

from shared.kernel.errors import HoldfastError

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class PreconditionFailed(HoldfastError):
    """If-Match named another version than the one at hand, or If-None-Match one that is there."""

    status = 412
    code = "version_changed"


def check_match(what: str, if_match: str | None, etag: str) -> None:
    """`if_match` is the header as it came. Raises PreconditionFailed, which names the version that `what` is at."""
    if if_match is not None and not listed([if_match], etag, strong=True):
        raise PreconditionFailed(f"the {what} is at version {etag}, If-Match asked for {if_match[:100]}", etag=etag)


def listed(header: Sequence[str], etag: str, *, strong: bool = False) -> bool:
    """`header` is every line of If-None-Match or If-Match. `*` is any tag. Compared as strong, weak never match."""
    for line in header:
        if line.strip() == "*":
            return True
        for weak, tag in _TAG.findall(line):
            if tag == etag.removeprefix("W/") and not (strong and (weak or etag.startswith("W/"))):
                return True
    return False
