"""A delivery's number inside its body, pure: `{"sequence": n, "type", "timestamp", "data"}`.

The invariant: everything else of the body stays the very bytes that were stored. The number is there when the body is
signed: nobody between here and the receiver can take a delivery out, or renumber others, without being noticed.
"""

from typing import Final

MEMBER: Final = b'{"sequence":'


def numbered(body: bytes, number: int) -> bytes:
    """`body` is an object with at least one member, as all bodies of events are."""
    return b"%b%d,%b" % (MEMBER, number, body[1:])
