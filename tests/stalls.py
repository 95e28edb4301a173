"""Bounds in seconds that hold on a machine whose disk hangs, or whose processor is another's for a while.

A witness, a process that sleeps for 10 ms and writes 8 KiB to the disk in turns, tells by how much it was late. What
takes longer than its bound, less what the witness was late meanwhile, takes too long by itself.
"""

import os
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

TURN_S = 0.01
PAGE = bytes(8192)
INSTANT = struct.Struct("d")


class Stalls:
    """`seconds`, once it is left: what the machine withheld in between."""

    seconds = 0.0

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._witness = subprocess.Popen([sys.executable, "-IS", __file__], stdin=pipe, stdout=pipe, bufsize=0)
        assert self._witness.stdout is not None
        self._witness.stdout.read(1)
        return self

    def __exit__(self, *_: object) -> None:
        told, _ = self._witness.communicate(INSTANT.pack(time.monotonic()))
        (self.seconds,) = INSTANT.unpack(told)


@asynccontextmanager
async def within(limit_s: float) -> AsyncIterator[None]:
    """Fails when the block takes `limit_s` or more, not counting what was withheld."""
    with Stalls() as stalls:
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
    assert took_s - stalls.seconds < limit_s, f"{took_s:.2f} s, of which {stalls.seconds:.2f} s were withheld"


def _witness() -> None:
    turns: list[tuple[float, float]] = []
    asked = False
    with tempfile.TemporaryFile() as file:
        os.write(1, b".")
        while not asked:
            began_s = time.monotonic()
            asked = bool(select.select([0], [], [], TURN_S)[0])
            os.pwrite(file.fileno(), PAGE, 0)
            os.fdatasync(file.fileno())
            turns.append((began_s, time.monotonic()))
    request = os.read(0, INSTANT.size)
    if request:  # else whoever asked is no more
        (until_s,) = INSTANT.unpack(request)
        late = (min(ended_s, until_s) - began_s - TURN_S for began_s, ended_s in turns)
        os.write(1, INSTANT.pack(sum(max(0.0, late_s) for late_s in late)))


if __name__ == "__main__":
    _witness()
