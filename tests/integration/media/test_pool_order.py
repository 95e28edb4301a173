"""Bulk and what somebody waits for, through one pool."""

import asyncio

import pytest

from services.media.errors import PoolFull
from tests.integration.media.conftest import open_pool, until


async def test_what_somebody_waits_for_goes_before_bulk_that_came_earlier(hold):
    async with open_pool(1) as pool:
        first, _ = await hold(pool)
        ended = []

        async def one(name, **kind):
            await pool.run("echo", {"value": name}, timeout_s=5, **kind)
            ended.append(name)

        bulk = [asyncio.create_task(one(f"bulk{number}", bulk=True)) for number in range(5)]
        await until(pool, lambda p: p.waiting == 5)
        quick = [asyncio.create_task(one(f"quick{number}")) for number in range(3)]
        await until(pool, lambda p: p.waiting == 8)
        first.cancel()
        await asyncio.gather(*bulk, *quick)
        assert ended == [*(f"quick{number}" for number in range(3)), *(f"bulk{number}" for number in range(5))]


async def test_a_line_that_is_full_of_bulk_keeps_nobody_else_out(hold):
    async with open_pool(1, waiting_max=2) as pool:
        first, _ = await hold(pool)
        bulk = [asyncio.create_task(pool.run("echo", {"value": n}, timeout_s=5, bulk=True)) for n in range(3)]
        await until(pool, lambda p: p.waiting == 3)
        with pytest.raises(PoolFull):
            await pool.run("echo", {"value": 9}, timeout_s=5, bulk=True)
        quick = asyncio.create_task(pool.run("echo", {"value": 7}, timeout_s=5))
        await until(pool, lambda p: p.waiting == 4)
        first.cancel()
        assert (await quick)["value"] == 7
        assert [answer["value"] for answer in await asyncio.gather(*bulk)] == [0, 1, 2]


async def test_cancelling_a_call_that_waits_leaves_those_behind_it_in_line(hold):
    async with open_pool(1) as pool:
        holding, _ = await hold(pool)
        first = asyncio.create_task(pool.run("echo", {"value": 0}, timeout_s=5))
        await until(pool, lambda p: p.waiting == 1)
        second = asyncio.create_task(pool.run("echo", {"value": 1}, timeout_s=5))
        await until(pool, lambda p: p.waiting == 2)
        first.cancel()
        await asyncio.wait({first})
        holding.cancel()
        assert (await second)["value"] == 1


async def test_the_pool_says_how_it_stands(hold):
    async with open_pool(2) as pool:
        call, _ = await hold(pool)
        status = pool.status()
        assert {name: status[name] for name in ("slots", "ready", "running", "waiting", "deaths")} == {
            "slots": 2, "ready": 2, "running": 1, "waiting": 0, "deaths": 0,
        }  # fmt: skip
        assert status["protection"]["seccomp"] == "on"
        call.cancel()
