"""Slots that die, hang, and eat memory: who fails, how soon, and who does not notice."""

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from services.media.errors import DeadlineExceeded, MediaError, PoolClosed, SlotDied, TaskFailed
from services.media.pool import Pool
from tests.integration.media.conftest import FAULTY, ended, open_pool, until
from tests.stalls import within


async def test_a_hundred_kills_under_load_fail_nobody_but_the_victims(pool):
    kills, good, answered = 0, 0, asyncio.Semaphore(0)
    victims: list[SlotDied] = []

    async def client():
        nonlocal good
        while kills < 100:
            try:
                await pool.run("work", {"ms": 3}, timeout_s=10)
            except SlotDied as error:
                victims.append(error)
            else:
                good += 1
                answered.release()

    async def killer():
        nonlocal kills
        rng = random.Random(7)
        while kills < 100:
            for _ in range(3):
                await answered.acquire()
            if pids := pool.pids():
                with contextlib.suppress(ProcessLookupError):  # it has ended, and the pool has not heard yet
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    kills += 1

    await asyncio.gather(killer(), *(client() for _ in range(6)))
    assert len(victims) <= 100
    assert {v.details["signal"] for v in victims} == {"SIGKILL"}
    assert good >= 300
    await until(pool, lambda p: len(p.pids()) == 2)
    assert (await pool.run("echo", {"value": 1}, timeout_s=5))["value"] == 1


async def test_the_queued_second_call_survives_its_slots_death(hold):
    async with open_pool(1) as pool:
        running, pid = await hold(pool)
        queued = asyncio.create_task(pool.run("echo", {"value": 2}, timeout_s=5))
        await until(pool, lambda p: p.waiting == 1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(SlotDied) as caught:
            await running
        assert caught.value.details["signal"] == "SIGKILL"
        result = await queued
        assert result["value"] == 2
        assert result["pid"] != pid


async def test_a_slot_is_restored_quickly(pool):
    took_ms = []
    for _ in range(10):
        before = set(pool.pids())
        victim = min(before)
        killed_at = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        await until(pool, lambda p, v=victim: v not in p.pids() and len(p.pids()) == 2)
        took_ms.append((time.perf_counter() - killed_at) * 1000)
        await asyncio.gather(*(pool.run("work", {"ms": 5}, timeout_s=5) for _ in range(2)))
    assert sorted(took_ms)[5] < 250


@pytest.mark.parametrize("spin", [False, True])
async def test_a_deadline_is_kept_against_a_child_that_ignores_sigterm(pool, hold, spin):
    call, pid = await hold(pool, timeout_s=0.5, ignore_sigterm=True, spin=spin)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"more than 0\.5 s"):
        await call
    assert time.monotonic() - started <= 0.5 + 0.3
    assert pid not in pool.pids()


async def test_the_deadline_of_a_queued_call_counts_from_its_own_start():
    async with open_pool(1) as pool:
        first = asyncio.create_task(pool.run("work", {"ms": 600}, timeout_s=5))
        second = asyncio.create_task(pool.run("work", {"ms": 200}, timeout_s=0.5))
        # Neither is cut off: the second waits 0.6 s, which is beyond its 0.5 s, and runs for 0.2.
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert [result for result in results if isinstance(result, BaseException)] == []


async def test_a_stopped_slot_costs_time_and_no_call(hold):
    async with open_pool(1) as pool:
        pid = pool.pids()[0]
        os.kill(pid, signal.SIGSTOP)
        await until(
            pool, lambda _: _is_stopped(pid)
        )  # before that it might still take the call, which would be its own
        assert (await pool.run("echo", {"value": 3}, timeout_s=2))["value"] == 3


async def test_cancelling_a_running_call_ends_its_process(pool, hold):
    call, pid = await hold(pool, ignore_sigterm=True)
    fd = os.pidfd_open(pid)
    async with within(1):
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await ended([fd], 0.5)
    os.close(fd)
    await until(pool, lambda p: len(p.pids()) == 2)


async def test_cancelling_a_queued_call_leaves_the_running_one_alone(hold, tmp_path):
    async with open_pool(1) as pool:
        running, pid = await hold(pool)
        mark = tmp_path / "never"
        queued = asyncio.create_task(pool.run("hold", {"started": str(mark)}, timeout_s=5))
        await until(pool, lambda p: p.waiting == 1)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        assert pool.pids() == [pid]
        assert pool.waiting == 0
        running.cancel()
        await asyncio.wait({running})
        await pool.run("echo", {"value": 0}, timeout_s=5)
        assert not mark.exists()


async def test_a_short_call_does_not_wait_behind_a_long_one_while_a_slot_is_idle(pool, hold):
    _long, pid = await hold(pool)
    shorts = await asyncio.gather(*(pool.run("work", {"ms": 5}, timeout_s=5) for _ in range(6)))
    assert all(short["pid"] != pid for short in shorts)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGTERM])
async def test_a_crash_is_told_by_its_signal(pool, number):
    with pytest.raises(SlotDied, match=number.name):
        await pool.run("crash", {"signal_number": int(number)}, timeout_s=5)


async def test_an_exit_is_told_by_its_code(pool):
    with pytest.raises(SlotDied) as caught:
        await pool.run("leave", {"code": 7}, timeout_s=5)
    assert caught.value.details == {"signal": None, "exit_code": 7}


async def test_a_batch_of_crashing_calls_does_not_slow_the_others_down(pool):
    bad = [pool.run("leave", {"code": 1}, timeout_s=5) for _ in range(20)]
    good = [pool.run("echo", {"value": n}, timeout_s=5) for n in range(20)]
    mixed = [call for pair in zip(bad, good, strict=True) for call in pair]
    started = time.monotonic()
    results = await asyncio.gather(*mixed, return_exceptions=True)
    assert all(isinstance(r, SlotDied) for r in results[::2])
    assert [r["value"] for r in results[1::2]] == list(range(20))
    assert time.monotonic() - started < 10


async def test_a_memory_bomb_is_a_typed_refusal_and_spares_its_slot(pool):
    pids = pool.pids()
    with pytest.raises(MediaError) as caught:
        await pool.run("hog", {"size_bytes": 1_100_000_000}, timeout_s=5)
    assert caught.value.code == "out_of_memory"
    assert pool.pids() == pids


async def test_the_kernel_ends_a_child_whose_parent_does_not(hold):
    """The alarm in the child: the pool's own timer is taken away, as if its loop were stuck."""
    async with open_pool(1, deadline_grace_s=0.2) as pool:
        call, _ = await hold(pool, timeout_s=0.3, spin=True)
        seat = next(iter(pool._rota.seats.values()))
        seat._timer.cancel()
        with pytest.raises(SlotDied, match="SIGALRM"):
            await call


async def test_what_a_task_raises_comes_back_by_name(pool):
    with pytest.raises(TaskFailed, match="LookupError: no such luck"):
        await pool.run("boom", {}, timeout_s=5)
    with pytest.raises(TaskFailed, match="no task is named 'nope'"):
        await pool.run("nope", {}, timeout_s=5)
    with pytest.raises(TaskFailed, match="MessageTooLarge"):
        await pool.run("long_answer", {}, timeout_s=5)
    with pytest.raises(TaskFailed, match="TypeError"):
        await pool.run("echo", {"wrong": 1}, timeout_s=5)


def _is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


ANSWER = {"id": "ID", "rss": 1}


@pytest.mark.parametrize(
    "message",
    [
        [], 7, ANSWER, {**ANSWER, "ok": 1}, {**ANSWER, "error": {}}, {**ANSWER, "rss": "x", "ok": {}},
        {**ANSWER, "error": {"refusal": True, "type": "x", "message": "m", "details": {"message": 1}}},
        {"id": "ID", "progress": ["half", "way"]}, {"id": "ID", "progress": [1]}, {"id": 0, "rss": 1, "ok": {}},
    ],
)  # fmt: skip
async def test_a_slot_that_does_not_speak_the_protocol_ends_and_its_caller_is_told(message):
    async with open_pool(1) as pool:
        with pytest.raises(SlotDied):
            await asyncio.wait_for(pool.run("lie", {"message": message}, timeout_s=20), 15)
        assert (await pool.run("echo", {"value": 1}, timeout_s=5))["value"] == 1


async def test_a_slot_cannot_have_another_process_killed_in_its_place():
    victim = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        async with open_pool(1) as pool:
            lie = {"ready": victim.pid, "rss": 1, "protection": {}}
            with pytest.raises(SlotDied):
                await asyncio.wait_for(pool.run("lie", {"message": lie}, timeout_s=20), 15)
            assert (await pool.run("echo", {"value": 1}, timeout_s=5))["value"] == 1
        assert victim.returncode is None
    finally:
        victim.kill()
        await victim.wait()


async def test_a_pool_that_is_closed_while_it_starts_says_so():
    pool = Pool(1, tasks_module=FAULTY)
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(PoolClosed):
        await asyncio.wait_for(starting, 10)
