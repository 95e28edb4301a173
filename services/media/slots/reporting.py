"""How far a call is, said by the code that runs in a slot; outside of one it says nothing to nobody.

A slot runs one call at a time, so where its reports go is the slot's, and no task is handed it. `slot` sets it.
"""

from collections.abc import Callable

_send: Callable[[float, str], None] | None = None


def report(fraction: float, note: str) -> None:
    """`fraction` of the whole call, 0 to 1; `note` in a few words. A message of some 50 bytes: once for each step."""
    if _send is not None:
        _send(fraction, note)


def send_with(send: Callable[[float, str], None] | None) -> None:
    global _send  # noqa: PLW0603 - a slot is a process with one call at a time
    _send = send
