"""Places where a fault test may kill the process, named in the code so that the test hits exactly that line.

`HOLDFAST_FAULT_POINTS="claim.committed=3@/tmp/once"` kills the process with SIGKILL at the third pass of that point,
once: whoever creates the file first is the one that dies. Off unless that setting is given; a process can only ever
end itself here.
"""

import os
import signal
from dataclasses import dataclass


@dataclass
class _Armed:
    passes_left: int
    once: str


_armed: dict[str, _Armed] = {}


def arm(setting: str) -> None:
    """Take the setting's value: comma-separated `point=pass@file`."""
    _armed.clear()
    for part in filter(None, setting.split(",")):
        point, _, rest = part.partition("=")
        count, _, once = rest.partition("@")
        _armed[point] = _Armed(int(count or 1), once)


def strike(point: str) -> None:
    if not _armed or point not in _armed:
        return
    armed = _armed[point]
    armed.passes_left -= 1
    if armed.passes_left == 0 and _first(armed.once):
        os.kill(os.getpid(), signal.SIGKILL)


def _first(once: str) -> bool:
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
