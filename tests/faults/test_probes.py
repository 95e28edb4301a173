"""What a cluster's probes see of workers and relays while something else is away: none of it is a reason to restart."""

import asyncio
import time
from pathlib import Path

import pytest

from shared.runtime.heartbeat import FILE
from shared.testing.lab import Noop
from tests.faults.rig import Rig

LONGER_S = 8.0  # than any pause between two signs of life while something is away


async def beats_on(*states: Path) -> None:
    """Each is touched again after that long."""
    after_s = time.time() + LONGER_S
    async with asyncio.timeout(LONGER_S + 15):
        while not all(_touched_s(state) > after_s for state in states):  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.1)


def _touched_s(state: Path) -> float:
    return (state / FILE).stat().st_mtime if (state / FILE).exists() else 0.0


async def test_a_database_that_is_away_leaves_the_heartbeats_beating(rig: Rig) -> None:
    if rig.postgres is None:
        pytest.skip("SQLite has no server to stop")
    relay, worker = rig.relay(), rig.worker()
    await rig.enqueue(Noop())
    await rig.until_ended(1)
    await asyncio.to_thread(rig.postgres.stop)
    await beats_on(rig.folder / "state-relay", rig.folder / "state-0")
    await asyncio.to_thread(rig.postgres.start)
    assert [role.process.poll() for role in (relay, worker) if role.process] == [None, None]
    await rig.enqueue(Noop())
    assert await rig.settled(90) == {"completed": 2}


async def test_redis_that_is_away_from_the_beginning_leaves_the_heartbeats_beating(rig: Rig) -> None:
    """A node that goes down with Redis has its pods started elsewhere: they wait for it, and are left to."""
    rig.valkey.stop()
    rig.relay()
    rig.worker()
    await rig.until_logged("w", "begin_failed", 30)
    await beats_on(rig.folder / "state-relay", rig.folder / "state-0")
    await asyncio.to_thread(rig.valkey.start)
    await rig.enqueue(Noop())
    assert await rig.settled(90) == {"completed": 1}
