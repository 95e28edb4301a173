"""A replay whose worker is killed in the middle: everything is sent, and nothing twice."""

import asyncio
import time

import pytest

from shared.kernel.clock import rfc3339
from tests.faults.hooks import webhooks
from tests.faults.rig import Rig

EVENTS = 120


@pytest.mark.parametrize("point", ["replay.step", "replay.uncommitted"])
async def test_a_killed_replay_goes_on_and_makes_nothing_twice(rig: Rig, point: str) -> None:
    async with webhooks(rig) as hooks:
        sent = await hooks.events(EVENTS)
        made = await hooks.endpoint("/")
        hooks.relay()
        hooks.worker(f"{point}=2")
        since = str(rfc3339(rig.database.clock.now_us() - 3_600_000_000))
        replay = await hooks.post("/replays", what="missing", endpoint_id=made["id"], since=since, rate_per_s=60)
        until_s = time.monotonic() + 60
        while True:
            shown = (await hooks.client.get(f"/replays/{replay['id']}")).json()
            if shown["state"] != "running" and len(hooks.got) >= EVENTS:
                break
            assert time.monotonic() < until_s, (shown, len(hooks.got), rig.folder)
            rig.supervisor.tend()
            await asyncio.sleep(0.1)
        assert (rig.folder / "once").exists(), "nobody was killed: this is not the case that the test is about"
        assert (shown["state"], shown["sent"]) == ("completed", EVENTS)
        assert {event for _, event in hooks.got} == sent
        assert await hooks.links() == EVENTS
        assert await rig.rows("SELECT outcome FROM job_attempt WHERE outcome = 'crashed'")
