"""Identifiers: a typed prefix and a UUIDv7 in 26 characters of Crockford base32, `job_01jd…`.

Text sorts as time does (RFC 9562 §5.7: 48 bits of milliseconds lead), the same string stands in the
database, in Redis, in URLs and in logs, and no id holds a `.` (Standard Webhooks signs `id.timestamp.body`).
"""

import os
import re
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_SHAPE = re.compile(r"[a-z]{2,8}_[0-7][0-9a-hjkmnp-tv-z]{25}")


class _Sequence:
    """Ids of one process never go backwards: within a millisecond the 74 random bits count up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ms = 0
        self._random = 0

    def next(self) -> int:
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                self._random = int.from_bytes(os.urandom(10)) >> 7  # 73 bits: room to count up
            else:
                self._random += 1 + (os.urandom(1)[0] << 8)
            low = self._random
            return (
                (self._last_ms << 80)
                | (0x7 << 76)
                | (((low >> 62) & 0xFFF) << 64)
                | (0b10 << 62)
                | (low & ((1 << 62) - 1))
            )


_sequence = _Sequence()


def new_id(prefix: str) -> str:
    value = _sequence.next()
    pairs = []
    for _ in range(13):
        pairs.append(_PAIRS[value & 0x3FF])
        value >>= 10
    return f"{prefix}_{''.join(reversed(pairs))}"


def is_id(text: str, prefix: str) -> bool:
    return text.startswith(prefix + "_") and _SHAPE.fullmatch(text) is not None


def id_floor(prefix: str, at_us: int) -> str:
    """The least id that could be made at `at_us` (µs): ids made before it sort before it."""
    value = max(0, at_us // 1_000) << 80
    digits = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
