import asyncio
import os
import select
from contextlib import asynccontextmanager
from functools import partial

import pytest

from services.media.pool import Pool

FAULTY = "tests.integration.media.faulty_tasks"


@asynccontextmanager
async def open_pool(slots=2, **options):
    pool = Pool(slots, tasks_module=FAULTY, **options)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()
        assert pool.pids() == []


@pytest.fixture
async def pool():
    async with open_pool() as opened:
        yield opened


@pytest.fixture
async def one_slot():
    """A pool that makes real pictures and films."""
    pool = Pool(1)
    await pool.start()
    yield pool
    await pool.close()


@pytest.fixture
def out(tmp_path):
    """The folder of a call."""
    directory = tmp_path / "out"
    directory.mkdir()
    return directory


@pytest.fixture
def hold(tmp_path):
    """Start a call that runs until it is killed; returns (task, pid) once it runs."""
    made = []

    async def start(pool, timeout_s=30.0, **args):
        fifo = tmp_path / f"started{len(made)}"
        made.append(fifo)
        os.mkfifo(fifo)
        run = pool.run("hold", {"started": str(fifo), **args}, timeout_s=timeout_s)
        call = asyncio.create_task(run)
        return call, int(await asyncio.to_thread(fifo.read_text))

    return start


async def ended(pid_fds, within_s):
    """True when every process behind these pidfds has ended in time."""
    waits = [asyncio.to_thread(partial(select.select, [fd], [], [], within_s)) for fd in pid_fds]
    return all(readable for readable, _, _ in await asyncio.gather(*waits))


async def until(pool, condition, within_s=5.0):
    """Wait on the loop's own turns for something that no signal announces."""
    async with asyncio.timeout(within_s):
        while not condition(pool):  # noqa: ASYNC110 - what is awaited belongs to other processes
            await asyncio.sleep(0.001)
