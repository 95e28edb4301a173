"""How many CPUs this process may use: what a pool is sized by.

Owns the reading of affinity and of the cgroup's limit (v2, and the `cpu` controller of v1), in this cgroup and in those
above it. A limit of 1.5 makes one slot, not two: what is left over is the worker's own, which hashes, stores and beats;
slots for it would use up the quota, and then the kernel stops all of the cgroup, the worker's event loop too, for the
rest of each period. At least 1. Refuses nothing: what cannot be read limits nothing.
"""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def usable_cpus(proc: Path = Path("/proc/self/cgroup"), root: Path = ROOT) -> int:
    affine = len(os.sched_getaffinity(0))
    return max(1, min([affine, *(int(limit) for limit in limits(proc, root))]))


def limits(proc: Path, root: Path) -> Iterator[float]:
    """In CPUs, of each cgroup from this process' own up to the one that it sees as the root."""
    for line in _lines(proc):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops, read = (root, root / "unified"), _quota_v2
        elif "cpu" in controllers.split(","):
            tops, read = (root / "cpu", root / "cpu,cpuacct"), _quota_v1
        else:
            continue
        for top in tops:
            own = Path(os.path.normpath(path.strip() or "/")).relative_to("/")
            for folder in (top / own, *(top / part for part in own.parents)):
                limit = read(folder)
                if limit is not None:
                    yield limit


def _quota_v2(folder: Path) -> float | None:
    words = " ".join(_lines(folder / "cpu.max")).split()
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(folder: Path) -> float | None:
    quota = " ".join(_lines(folder / "cpu.cfs_quota_us"))
    period = " ".join(_lines(folder / "cpu.cfs_period_us"))
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except (OSError, ValueError):
        return []
