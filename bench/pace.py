"""The open loop: a fixed schedule that waits for nobody, and times taken from when a thing was *meant* to start.

A closed loop hides a stall, because it stops asking while the system stands still. Here whatever is late, the
generator itself included, counts as latency.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Act = Callable[[int], Awaitable[None]]
CURVE = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)


async def open_loop(rate: float, seconds: float, act: Act) -> None:
    """Call `act(intended_ns)` at every tick, each in a task of its own; return when all have ended.

    The ticks come from a thread: an event loop sleeps in whole milliseconds, which at 3 ms would be half the figure.
    """
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    over = asyncio.Event()
    gap_ns, count = int(1e9 / rate), int(rate * seconds)
    first_ns = time.time_ns() + 50_000_000

    def fire(intended_ns: int) -> None:
        task: asyncio.Task[None] = loop.create_task(_acting(act, intended_ns))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def tick() -> None:
        for number in range(count):
            intended_ns = first_ns + number * gap_ns
            left_s = (intended_ns - time.time_ns()) / 1e9
            if left_s > 0:
                time.sleep(left_s)
            loop.call_soon_threadsafe(fire, intended_ns)
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=tick, name="pace", daemon=True).start()
    await over.wait()
    while tasks:
        await asyncio.wait(set(tasks))


async def _acting(act: Act, intended_ns: int) -> None:
    await act(intended_ns)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; the largest value when there are too few for that share."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread_ms(values_ms: Sequence[float]) -> dict[str, Any]:
    """`curve`: a value for each of `CURVE`, for plots."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    named = {name: round(percentile(values_ms, share), 3) for name, share in shares.items()}
    curve = [round(percentile(values_ms, share), 3) for share in CURVE]
    return {**named, "max": round(max(values_ms), 3), "count": len(values_ms), "curve": curve}


def pace(sent_ns: Sequence[int], done_ns: Sequence[int]) -> dict[str, float]:
    """What was sent, and what was done, a second, while sending went on: the lower one is what goes through."""
    first_ns, last_ns = min(sent_ns), max(sent_ns)
    seconds = max(last_ns - first_ns, 1) / 1e9
    done = sum(1 for at_ns in done_ns if first_ns <= at_ns <= last_ns)
    return {"sent": len(sent_ns) / seconds, "done": done / seconds}
