"""The messages between the pool and its slots: JSON, bounded, never pickle.

A slot has two channels. Calls go down a datagram pair of which the parent keeps *both* ends: a message is read whole by
exactly one reader, so a call that its slot has not taken can be read back, be it to withdraw it, to give it to an idle
slot, or to learn after a death which call was running. Answers and the progress before them come up a stream pair, one
JSON line each; its end of file is the proof that the child is gone, or, seen from the child, that its parent is.

Refuses: a message above MESSAGE_LIMIT_BYTES. Files travel as paths.
"""

import json
import socket
from typing import Any

MESSAGE_LIMIT_BYTES = 64 * 1024


class MessageTooLarge(ValueError):
    """A message would not fit into one datagram."""


def encode(message: dict[str, Any]) -> bytes:
    """One line of JSON. Raises MessageTooLarge, and TypeError or ValueError for what JSON cannot hold."""
    line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(line) > MESSAGE_LIMIT_BYTES:
        raise MessageTooLarge(f"the message has {len(line)} bytes; the limit is {MESSAGE_LIMIT_BYTES}")
    return line


def call_channel() -> tuple[socket.socket, socket.socket]:
    """A pair of datagram sockets, wide enough for the largest message."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_LIMIT_BYTES)
    return pair


class Lines:
    """Cuts a byte stream into JSON messages; a last line without its end (a writer died) is never handed out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MESSAGE_LIMIT_BYTES:
            raise MessageTooLarge("a line on the answer channel has no end")
        return [json.loads(line) for line in whole]
