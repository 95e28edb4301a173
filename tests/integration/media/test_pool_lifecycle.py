"""A pool's life: its bounds, its environment, its end, and the end of its parent."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from services.media.errors import PoolClosed, PoolFull, SlotDied, SlotsUnavailable
from services.media.pool import Pool
from services.media.slots import wire
from services.media.slots.seat import Seat
from tests.integration.media.conftest import FAULTY, ended, open_pool, until
from tests.stalls import within

# The pool lives in a forked, daemonic child of a process with threads, as under Taskiq's launcher.
FORKED_PARENT = """
import asyncio, json, multiprocessing, os, sys, threading
from services.media.pool import Pool

def child():
    asyncio.run(main())

async def main():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    pool = Pool(2, tasks_module=sys.argv[1], deadline_grace_s=60.0)
    await pool.start()
    calls = [asyncio.create_task(pool.run("hold", {"started": p, "spin": True}, timeout_s=60)) for p in sys.argv[2:]]
    forker = pool._launcher._process.pid
    print(json.dumps({"parent": os.getpid(), "slots": pool.pids(), "forker": forker}), flush=True)
    await asyncio.gather(*calls)

threading.Thread(target=threading.Event().wait, daemon=True).start()
process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
process.start()
process.join()
"""


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_no_orphan_outlives_a_killed_parent(tmp_path):
    fifos = [tmp_path / "one", tmp_path / "two"]
    for fifo in fifos:
        os.mkfifo(fifo)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", FORKED_PARENT, FAULTY, *map(str, fifos)]
    with subprocess.Popen(  # noqa: ASYNC220 - asyncio would reap what the test must watch
        command, stdout=subprocess.PIPE, env=env
    ) as launcher:
        found = json.loads(await asyncio.to_thread(launcher.stdout.readline))
        for fifo in fifos:
            await asyncio.to_thread(fifo.read_text)
        fds = [os.pidfd_open(pid) for pid in (*found["slots"], found["forker"])]
        os.kill(found["parent"], signal.SIGKILL)
        assert await ended(fds, 2.0)
        for fd in fds:
            os.close(fd)
        assert await asyncio.to_thread(launcher.wait, 5) == 0


async def test_close_ends_everything_at_once_and_may_be_called_again(hold):
    async with open_pool(2) as pool:
        call, pid = await hold(pool, ignore_sigterm=True)
        waiting = [asyncio.create_task(pool.run("work", {"ms": 60_000}, timeout_s=90)) for _ in range(5)]
        await until(pool, lambda p: p.running == 2)
        fds = [os.pidfd_open(p) for p in (*pool.pids(), pool._launcher._process.pid)]
        assert pid in pool.pids()
        async with within(2):
            await asyncio.gather(pool.close(), pool.close())
        await pool.close()
        assert await ended(fds, 0.5)
        for fd in fds:
            os.close(fd)
        results = await asyncio.gather(call, *waiting, return_exceptions=True)
        assert all(isinstance(result, PoolClosed) for result in results)
        with pytest.raises(PoolClosed):
            await pool.run("echo", {"value": 1}, timeout_s=1)


async def test_a_pool_leaves_no_descriptor_behind():
    async with open_pool(2) as pool:
        await pool.run("echo", {"value": 1}, timeout_s=5)
    before = open_descriptors()
    async with open_pool(2) as pool:
        for _ in range(5):
            pid = pool.pids()[0]
            os.kill(pid, signal.SIGKILL)
            await until(pool, lambda p, v=pid: v not in p.pids() and len(p.pids()) == 2)
            await asyncio.gather(*(pool.run("work", {"ms": 2}, timeout_s=5) for _ in range(4)))
    assert open_descriptors() <= before


async def test_a_full_queue_refuses_and_says_when_to_come_back(hold):
    async with open_pool(1, waiting_max=1) as pool:
        running, _ = await hold(pool)
        accepted = [asyncio.create_task(pool.run("echo", {"value": n}, timeout_s=5)) for n in range(2)]
        await until(pool, lambda p: p.waiting == 2)
        with pytest.raises(PoolFull) as caught:
            await pool.run("echo", {"value": 9}, timeout_s=5)
        assert caught.value.status == 429
        assert caught.value.details["retry_after_s"] == 1
        running.cancel()
        assert [r["value"] for r in await asyncio.gather(*accepted)] == [0, 1]


async def test_args_that_cannot_travel_are_refused_before_a_slot_sees_them(pool):
    with pytest.raises(ValueError, match="limit is 65536"):
        await pool.run("echo", {"value": "x" * 70_000}, timeout_s=5)
    with pytest.raises(TypeError):
        await pool.run("echo", {"value": b"bytes"}, timeout_s=5)


async def test_a_slot_is_replaced_after_its_share_of_calls():
    async with open_pool(1, recycle_after=3) as pool:
        pids = [(await pool.run("echo", {"value": n}, timeout_s=5))["pid"] for n in range(7)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
        assert pool.deaths == 0


async def test_a_pool_that_cannot_start_says_so_and_leaves_nothing():
    pool = Pool(2, tasks_module="tests.integration.media.broken_tasks")
    with pytest.raises(SlotsUnavailable):
        await pool.start()
    assert pool._launcher._process is None


async def test_a_dead_forker_is_replaced_and_its_slots_live_on(pool):
    pids = set(pool.pids())
    os.kill(pool._launcher._process.pid, signal.SIGKILL)
    await until(pool, lambda p: p._launcher._control is None)
    assert set(pool.pids()) == pids
    os.kill(min(pids), signal.SIGKILL)
    await until(pool, lambda p: len(set(p.pids()) - pids) == 1 and len(p.pids()) == 2)
    assert (await pool.run("echo", {"value": 4}, timeout_s=5))["value"] == 4


async def test_children_are_apart_and_know_no_secret(monkeypatch, capfd):
    monkeypatch.setenv("HOLDFAST_MASTER_KEY", "top")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with open_pool(1, niceness=3) as pool:
        names = (await pool.run("environment", {}, timeout_s=5))["names"]
        assert not [n for n in names if n.startswith(("HOLDFAST", "AWS"))]
        assert "VIPS_CONCURRENCY" in names
        nature = await pool.run("nature", {}, timeout_s=5)
        assert (nature["session"], nature["nice"] - os.nice(0), nature["oom"]) == (True, 3, 500)
        await pool.run("chatter", {}, timeout_s=5)
    assert capfd.readouterr().out == ""


def test_it_works_under_uvloop_too():
    async def main():
        async with open_pool(2) as pool:
            os.kill(pool.pids()[0], signal.SIGKILL)
            calls = (pool.run("work", {"ms": 2}, timeout_s=5) for _ in range(20))
            results = await asyncio.gather(*calls, return_exceptions=True)
            # A signal takes its time: the victim may have begun one call, and no other may fail.
            failed = [result for result in results if isinstance(result, BaseException)]
            assert len(failed) <= 1
            assert all(isinstance(error, SlotDied) for error in failed)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class Short:
    """Launches slots that are ready and have ended."""

    def __init__(self, pid):
        self._pid = pid

    def launch(self, channels):
        channels.answers.sendall(wire.encode({"ready": self._pid, "rss": 1, "protection": {}}))

    def forget(self, pid):
        assert pid == self._pid


async def test_a_slot_that_has_ended_when_its_readiness_is_read_was_never_ready():
    ended = await asyncio.create_subprocess_exec("true")
    seat = Seat(Short(ended.pid), lambda: None)
    with pytest.raises(ConnectionResetError, match="ended early"):
        await seat.open(20)
    assert seat.gone.done()
    await ended.wait()
