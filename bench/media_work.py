"""The same pictures by a bare loop and through the pool; and what ends badly: `python -m bench.media_work <what> …`.

`bare` is what one would write without a pool: processes that take the next number from a queue and make the renditions,
with the same code, warmed up in the same way. `pool` feeds slots as the worker does, two calls for each. `kills` and
`deadlines` measure how soon a slot is back, and how late a call is ended. Each prints one line of JSON.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pyvips

from bench.pace import spread_ms
from services.media.errors import DeadlineExceeded
from services.media.pool import Pool
from services.media.presets import Preset, PresetSet
from services.media.slots import slot_tasks
from shared.kernel.errors import HoldfastError

SETS = {
    "webp": PresetSet("webp", image=(Preset("w320", 320, 320), Preset("w1280", 1280, 1280))),
    "avif": PresetSet("avif", image=(Preset("a1280", 1280, 1280, "avif", effort=3),)),
}
SIDES = (4000, 3000)  # 12 megapixels
LIMIT_S = 60.0
GRACE_S = 0.3


def make_source(path: Path) -> None:
    """A photograph's likeness: soft shapes with the grain of a sensor, as a JPEG of some 3 MB."""
    width, height = SIDES
    shapes = pyvips.Image.perlin(width, height, cell_size=400, uchar=True)
    bands = [shapes, shapes.rot180(), shapes.flip("horizontal")]
    grain = pyvips.Image.gaussnoise(width, height, mean=0, sigma=4)
    shapes.bandjoin(bands[1:]).add(grain).cast("uchar").copy(interpretation="srgb").jpegsave(str(path), Q=90)


def render(source: str, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        slot_tasks.TASKS["renditions"](source=source, directory=folder, presets=SETS[kind].wire())


def bare(source: str, kind: str, total: int, processes: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    barrier, numbers = context.Barrier(processes + 1), context.Value("i", total)
    workers = [context.Process(target=_loop, args=(barrier, numbers, source, kind)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rate": total / seconds}


def _loop(barrier: Any, numbers: Any, source: str, kind: str) -> None:
    slot_tasks.preload()
    slot_tasks.warm_up()
    render(source, kind)
    barrier.wait()
    while True:
        with numbers.get_lock():
            if numbers.value <= 0:
                return
            numbers.value -= 1
        render(source, kind)


async def pooled(source: str, kind: str, total: int, slots: int) -> dict[str, Any]:
    """Also: the CPU that the pool's own process has used for each picture, and the most that a slot has held."""
    async with opened(slots) as pool:
        await asyncio.gather(*(call(pool, source, kind) for _ in range(slots)))
        left = total

        async def feed() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await call(pool, source, kind)

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(feed() for _ in range(2 * slots)))
        seconds = time.perf_counter() - began
        cpu_ms = (time.process_time() - cpu) * 1000 / total
        peak_mb = max(peak_bytes(pid) for pid in pool.pids()) / 1e6
    return {"seconds": seconds, "rate": total / seconds, "parent_cpu_ms": cpu_ms, "peak_mb": peak_mb}


async def call(pool: Pool, source: str, kind: str, timeout_s: float = LIMIT_S) -> None:
    with tempfile.TemporaryDirectory() as folder:
        args = {"source": source, "directory": folder, "presets": SETS[kind].wire()}
        await pool.run("renditions", args, timeout_s=timeout_s)


@contextlib.asynccontextmanager
async def opened(slots: int) -> Any:
    pool = Pool(slots, required=("seccomp",))
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


async def kills(source: str, kind: str, total: int, slots: int) -> dict[str, Any]:
    """From a SIGKILL to the slot that takes its place, while pictures are made."""
    took_ms: list[float] = []
    async with opened(slots) as pool:
        load = [asyncio.create_task(_endless(pool, source, kind)) for _ in range(2 * slots)]
        for _ in range(total):
            await asyncio.sleep(0.05)
            before = pool.pids()
            began = time.perf_counter()
            os.kill(before[0], signal.SIGKILL)
            while before[0] in pool.pids() or len(pool.pids()) < slots:  # noqa: ASYNC110 - other processes' doing
                await asyncio.sleep(0.0005)
            took_ms.append((time.perf_counter() - began) * 1000)
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
    return spread_ms(took_ms)


async def deadlines(source: str, kind: str, total: int, slots: int) -> dict[str, Any]:
    """How long after its limit a call has ended, when the picture takes longer than that."""
    late_ms: list[float] = []
    async with opened(slots) as pool:
        for number in range(total):
            limit_s = 0.02 + 0.001 * (number % 20)
            began = time.perf_counter()
            with contextlib.suppress(DeadlineExceeded):
                await call(pool, source, kind, limit_s)
                continue
            late_ms.append((time.perf_counter() - began - limit_s) * 1000)
            while len(pool.pids()) < slots:  # noqa: ASYNC110 - other processes' doing
                await asyncio.sleep(0.0005)
    return spread_ms(late_ms)


async def _endless(pool: Pool, source: str, kind: str) -> None:
    while True:
        with contextlib.suppress(HoldfastError):
            await call(pool, source, kind)


def cpu(source: str, kind: str, total: int, _: int) -> dict[str, float]:
    """CPU of one process, for each picture."""
    slot_tasks.preload()
    slot_tasks.warm_up()
    render(source, kind)
    began = time.process_time()
    for _ in range(total):
        render(source, kind)
    return {"cpu_ms": (time.process_time() - began) * 1000 / total}


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


WHAT: dict[str, Callable[..., dict[str, Any] | Coroutine[Any, Any, dict[str, Any]]]] = {
    "bare": bare,
    "pool": pooled,
    "kills": kills,
    "deadlines": deadlines,
    "cpu": cpu,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.media_work")
    parser.add_argument("what", choices=[*WHAT, "source"])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--kind", choices=list(SETS), default="webp")
    parser.add_argument("--total", type=int, default=40)
    parser.add_argument("--slots", type=int, default=2)
    given = parser.parse_args()
    if given.what == "source":
        make_source(given.source)
        told: Any = {"size_bytes": given.source.stat().st_size}
    else:
        told = WHAT[given.what](str(given.source), given.kind, given.total, given.slots)
        told = asyncio.run(told) if asyncio.iscoroutine(told) else told
    sys.stdout.write(orjson.dumps(told).decode() + "\n")


if __name__ == "__main__":
    main()
