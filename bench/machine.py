"""Which machine, which versions, which durability: without them a figure means nothing."""

import os
import platform
import statistics
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "taskiq",
    "taskiq-redis",
    "fastapi",
    "uvicorn",
    "uvloop",
    "aiohttp",
    "asyncpg",
    "redis",
    "orjson",
    "sqlalchemy",
)
_SYNCS = 100
_REVISION = "HOLDFAST_BENCH_REVISION"  # for a copy without its repository


def describe(folder: Path) -> dict[str, Any]:
    """`folder`: where the databases of the run lie; its disk's flush time bounds every commit."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
        "fdatasync_ms_p50": _fdatasync_ms(folder),
        "python_loop_ms": _python_loop_ms(),
        "revision": _revision(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


class Stolen:
    """What share of its processors' time the machine's host gave to others since this was made."""

    def __init__(self) -> None:
        self._before = _ticks()

    def share(self) -> float | None:
        """None where the kernel does not say."""
        all_before, stolen_before = self._before
        all_now, stolen_now = _ticks()
        passed = all_now - all_before
        return round((stolen_now - stolen_before) / passed, 3) if passed else None


def _ticks() -> tuple[int, int]:
    """(of every kind, stolen) of all processors; guests' time is in the user's already."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0, 0
    return sum(map(int, fields)), int(fields[7])


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _python_loop_ms() -> float:
    """CPU time of a fixed loop: a core that others are slowing down shows it here, and in every CPU figure."""
    began = time.process_time()
    for _ in range(1_000_000):
        pass
    return round((time.process_time() - began) * 1000, 1)


def _revision() -> str:
    if given := os.environ.get(_REVISION):
        return given
    command = ("git", "describe", "--always", "--dirty", "--exclude=*")
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _fdatasync_ms(folder: Path) -> float:
    """The median of overwriting 8 KiB and flushing it."""
    path = folder / "fdatasync.probe"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    taken: list[float] = []
    try:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.pwrite(descriptor, b"\0" * 8192, 0)
            os.fdatasync(descriptor)
            taken.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return round(statistics.median(taken), 3)
