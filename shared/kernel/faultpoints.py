"""Places where a fault test may kill the process, named in the code so that the test hits exactly that line.

`HOLDFAST_FAULT_POINTS="claim.committed=3"` kills the process with SIGKILL at the third pass of that point. Off unless
that setting is given; a process can only ever end itself here.
"""

import os
import signal

_armed: dict[str, int] = {}


def arm(setting: str) -> None:
    """Take the setting's value: comma-separated `point=pass`."""
    _armed.clear()
    for part in filter(None, setting.split(",")):
        point, _, count = part.partition("=")
        _armed[point] = int(count or 1)


def strike(point: str) -> None:
    if not _armed or point not in _armed:
        return
    _armed[point] -= 1
    if _armed[point] <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
