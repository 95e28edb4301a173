"""The media pool under a thousand SIGKILLs from outside, files that never end, and its worker's death.

Slots run the tasks of tests/integration/media/faulty_tasks.py: what is under test is who fails, and who does not
notice.
"""

import asyncio
import os
import random
import signal
import statistics
import time
from pathlib import Path
from typing import Self

from services.media.errors import DeadlineExceeded, SlotDied
from services.media.pool import Pool
from tests.integration.media.conftest import ended, open_pool, until
from tests.integration.media.conftest import hold as hold  # noqa: PLC0414 - a fixture

KILLS = 1_000
FORKER_EVERY = 100
CLIENTS = 8


class Load:
    """Clients that call as fast as they are answered; each answer must be the caller's own."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.over = False
        self.good = 0
        self.victims: list[SlotDied] = []
        self.answered = asyncio.Event()

    async def client(self, number: int) -> None:
        rng = random.Random(number)
        while not self.over:
            value = rng.random()
            try:
                if rng.random() < 0.5:
                    assert (await self.pool.run("echo", {"value": value}, timeout_s=10))["value"] == value
                else:
                    is_bulk = rng.random() < 0.3
                    await self.pool.run("work", {"ms": rng.choice((1, 3, 10))}, timeout_s=10, bulk=is_bulk)
            except SlotDied as error:
                self.victims.append(error)
            else:
                self.good += 1
            self.answered.set()

    async def __aenter__(self) -> Self:
        self._clients = [asyncio.create_task(self.client(number)) for number in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.over = True
        async with asyncio.timeout(30):
            await asyncio.gather(*self._clients)


async def test_a_thousand_kills_fail_nobody_but_their_victims() -> None:
    rng = random.Random(20261123)
    descriptors = open_descriptors()
    async with open_pool(2) as pool, Load(pool) as load:
        forkers, kills = 0, 0
        while kills < KILLS:
            load.answered.clear()
            await asyncio.wait_for(load.answered.wait(), 10)  # a dead pool answers nobody
            victim = rng.choice(pool.pids() or [0])
            if victim:
                os.kill(victim, signal.SIGKILL)
                kills += 1
            if victim and kills % FORKER_EVERY == 0 and pool._launcher._process is not None:
                pool._launcher._process.kill()
                forkers += 1
        load.over = True
        await until(pool, lambda p: len(p.pids()) == 2, 10)
        values = await asyncio.gather(*(pool.run("echo", {"value": n}, timeout_s=5) for n in range(50)))
        assert [answer["value"] for answer in values] == list(range(50))
        slots = children(pool._launcher._process.pid)
        assert set(slots) <= set(pool.pids()), "a slot lives on that the pool does not know of"
    signals = [victim.details["signal"] for victim in load.victims]
    told = f"{kills} kills, and {forkers} of the forker: {len(signals)} calls failed, {load.good} did not"
    print(f"\n    {told}")
    assert len(signals) <= kills, told
    assert set(signals) <= {"SIGKILL", None}, told
    assert signals.count(None) <= 4 * forkers, f"how they ended is unknown only while there is no forker: {told}"
    assert load.good > kills / 2, told
    assert open_descriptors() <= descriptors


async def test_a_killed_slot_is_back_soon_under_load() -> None:
    took_ms = []
    async with open_pool(2) as pool, Load(pool):
        for _ in range(100):
            before = pool.pids()
            killed_s = time.perf_counter()
            os.kill(before[0], signal.SIGKILL)
            await until(pool, lambda p, v=before[0]: v not in p.pids() and len(p.pids()) == 2)
            took_ms.append((time.perf_counter() - killed_s) * 1000)
            await asyncio.sleep(0.01)
    print(f"\n    a slot is back after {_spread(took_ms)} (the goal: p99 of 100 ms on a machine of its own)")
    assert statistics.median(took_ms) <= 100


async def test_deadlines_are_kept_against_children_that_ignore_sigterm(hold) -> None:
    over_ms = []
    async with open_pool(2) as pool:
        for number in range(20):
            call, _ = await hold(pool, timeout_s=0.3, ignore_sigterm=True, spin=number % 2 == 0)
            began_s = time.monotonic()
            try:
                await call
            except DeadlineExceeded:
                over_ms.append((time.monotonic() - began_s - 0.3) * 1000)
    print(f"\n    past their deadline by {_spread(over_ms)} (the goal: 100 ms)")
    assert len(over_ms) == 20
    assert statistics.median(over_ms) <= 100
    assert max(over_ms) <= 300


async def test_a_full_slot_that_is_killed_at_its_deadline_is_gone_soon() -> None:
    """700 MB are given back by the kernel before the file descriptors are closed, which is what tells the pool."""
    async with open_pool(1) as pool:
        began_s = time.monotonic()
        try:
            await pool.run("fill_and_spin", {"size_bytes": 700 << 20}, timeout_s=3)
        except DeadlineExceeded:
            over_ms = (time.monotonic() - began_s - 3) * 1000
        print(f"\n    with 700 MB past its deadline by {over_ms:.0f} ms")
        assert over_ms <= 500


async def test_stopped_and_killed_slots_are_not_waited_for_twice() -> None:
    """A slot that is stopped, and killed while it is: SIGKILL ends what SIGSTOP holds."""
    async with open_pool(2) as pool, Load(pool) as load:
        for _ in range(20):
            load.answered.clear()
            victim = pool.pids()[0]
            os.kill(victim, signal.SIGSTOP)
            await asyncio.sleep(0.01)
            os.kill(victim, signal.SIGKILL)
            await until(pool, lambda p, v=victim: v not in p.pids() and len(p.pids()) == 2)
    assert len(load.victims) <= 20


async def test_a_pool_that_is_closed_while_its_slots_die_is_closed() -> None:
    """A cancellation that came together with a slot's exit status was swallowed once, and the place filled again."""
    rng = random.Random(5)
    for _ in range(60):
        async with asyncio.timeout(10), open_pool(2) as pool:
            calls = [asyncio.create_task(pool.run("work", {"ms": 50}, timeout_s=10)) for _ in range(4)]
            await asyncio.sleep(rng.uniform(0, 0.02))
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        assert pool._launcher._process is None


async def test_the_pool_ends_with_every_child(hold) -> None:
    async with open_pool(2) as pool:
        call, _ = await hold(pool, ignore_sigterm=True, spin=True)
        pids = [*pool.pids(), pool._launcher._process.pid]
        fds = [os.pidfd_open(pid) for pid in pids]
        await pool.close()
        assert await ended(fds, 1.0)
        assert call.done() or await asyncio.wait({call}, timeout=1)
    for fd in fds:
        os.close(fd)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _spread(values: list[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"median {statistics.median(ordered):.0f} ms, p99 {p99:.0f}, most {ordered[-1]:.0f}"
