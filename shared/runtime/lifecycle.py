"""The shape of every background process: `run_once` does one pass, `run_forever` repeats it until told to stop.

A failed pass is logged and tried again with a growing, jittered pause; nothing exits because Redis or the database is
away. An event ends a pause early.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from shared.kernel.logs import get_logger

log = get_logger(__name__)
MOST_BACKOFF_S = 5.0


async def run_forever(
    name: str, run_once: Callable[[], Awaitable[float]], stop: asyncio.Event, *, nudge: asyncio.Event | None = None
) -> None:
    """`run_once` returns how many seconds to wait before the next pass."""
    failures = 0
    while not stop.is_set():
        if nudge is not None:
            nudge.clear()
        try:
            pause_s = await run_once()
            failures = 0
        except Exception as error:
            failures += 1
            pause_s = min(MOST_BACKOFF_S, 0.1 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            log.warning("pass_failed", process=name, failures=failures, error=repr(error))
        if pause_s > 0:
            await pause(pause_s, stop, nudge if failures == 0 else None)
        else:
            await asyncio.sleep(0)


async def pause(seconds: float, *events: asyncio.Event | None) -> None:
    """Wait, but no longer than until one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events if event is not None]
    if not waits:
        await asyncio.sleep(seconds)
        return
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
