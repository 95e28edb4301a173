"""Conditional requests: whether an entity tag is among those that a header lists (RFC 9110 §8.8.3, §13.1)."""

import re
from collections.abc import Sequence

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def listed(header: Sequence[str], etag: str, *, strong: bool = False) -> bool:
    """`header` is every line of If-None-Match or If-Match. `*` is any tag. Compared as strong, weak never match."""
    for line in header:
        if line.strip() == "*":
            return True
        for weak, tag in _TAG.findall(line):
            if tag == etag.removeprefix("W/") and not (strong and (weak or etag.startswith("W/"))):
                return True
    return False
