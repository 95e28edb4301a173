"""Webhooks under faults: nothing is lost, and nothing succeeds twice but what was interrupted."""

import asyncio

import redis.asyncio
from sqlalchemy import text

from shared.ledger.audit import audit
from tests.faults.hooks import QUEUE, Hooks, webhooks
from tests.faults.rig import Rig

ENDPOINTS = 10
ROUNDS, EVENTS = 3, 30
WIDE = 600
_DELIVERED = text("SELECT count(*) FROM job WHERE task = 'webhooks.deliver' AND state = 'completed'")


async def test_deliveries_under_kills_and_wipes(rig: Rig) -> None:
    async with webhooks(rig) as hooks:
        hooks.takes_s = 0.05
        for number in range(ENDPOINTS):
            await hooks.endpoint(f"/{number}")
        relay = hooks.relay()
        hooks.worker()
        await rig.until_workers(1)
        client = redis.asyncio.Redis.from_url(rig.valkey.url)
        for number in range(ROUNDS):
            publishing = asyncio.create_task(hooks.events(EVENTS))
            await rig.until(_DELIVERED, number * EVENTS * ENDPOINTS + EVENTS, "deliveries under way")
            await rig.until_running(5)
            rig.kill(rig.active(queue=QUEUE))
            await client.flushall()
            if number == 1 and relay.process is not None:
                rig.kill([relay.process.pid])
            await publishing
            await rig.until(_DELIVERED, (number + 1) * EVENTS * ENDPOINTS, "deliveries")
        await client.aclose()
        await _is_whole(hooks, ROUNDS * EVENTS * ENDPOINTS)


async def test_a_killed_fan_out_goes_on_and_makes_nothing_twice(rig: Rig) -> None:
    async with webhooks(rig) as hooks:
        for start in range(0, WIDE, 50):
            await asyncio.gather(*(hooks.endpoint(f"/{start + n}") for n in range(50)))
        hooks.relay()
        hooks.worker("fanout.batch=2")
        made = await hooks.post("/events", type="wide.event", data={})
        assert (made["deliveries"], "fan_out" in made) == (WIDE, True)
        await rig.until(_DELIVERED, WIDE, "deliveries")
        assert (rig.folder / "once").exists(), "nobody was killed: this is not the case that the test is about"
        await _is_whole(hooks, WIDE)


async def _is_whole(hooks: Hooks, deliveries: int) -> None:
    """Every delivery came, has one success, and came again only where its attempt was cut off."""
    rig = hooks.rig
    await rig.until(text("SELECT count(*) FROM job WHERE state = 'completed'"), deliveries, "ended jobs")
    assert await hooks.links() == deliveries == len(hooks.got)
    report = await audit(rig.database)
    assert report.ok, report.report()
    twice = "SELECT job_id FROM job_attempt WHERE outcome = 'completed' GROUP BY job_id HAVING count(*) > 1"
    assert not await rig.rows(twice)
    ((cut,),) = await rig.rows("SELECT count(*) FROM job_attempt WHERE outcome IN ('crashed', 'lost')")
    assert cut > 0, "nobody was interrupted"
    assert sum(hooks.got.values()) - deliveries <= cut
