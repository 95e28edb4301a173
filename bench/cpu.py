"""CPU time of process trees, read from /proc: what a job costs, whatever else the machine was doing meanwhile.

A tree's time includes children that it has reaped, so a backend that ends between two readings is not lost.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its descendants, as far as they are alive."""
    found = [pid]
    for parent in found:
        found += _children(parent)
    return found


def spent_us(pids: Sequence[int]) -> int:
    """User and system time of the trees below `pids`, in microseconds (to 10 ms)."""
    return sum(_spent_us(pid) for root in pids for pid in tree(root))


class Meter:
    """Reads named groups of processes now, and says later what each has spent since."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = {name: list(pids) for name, pids in groups.items()}
        self._before = self._read()

    def total_us(self) -> dict[str, float]:
        return self.per_job_us(1)

    def per_job_us(self, jobs: int) -> dict[str, float]:
        after = self._read()
        return {name: round((after[name] - self._before[name]) / max(jobs, 1), 1) for name in self._groups}

    def _read(self) -> dict[str, int]:
        return {name: spent_us(pids) for name, pids in self._groups.items()}


def _children(pid: int) -> list[int]:
    """None of a process that has just ended, as a background process of a server may."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - a missing folder raises here, not while iterating
    except OSError:
        return found
    for task in tasks:
        try:
            found += [int(part) for part in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
        except OSError:
            continue
    return found


def _spent_us(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    # After the name: utime, stime, cutime, cstime are the fields 14 to 17 of proc(5).
    return sum(int(field) for field in fields[11:15]) * 1_000_000 // _TICKS_A_SECOND
