"""Slots and workers of the media service, killed at random points under load.

Whatever is killed: what a row names is whole, from the moment that it can be seen; every job ends; and every event says
what has become of its asset.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from typing import Any

import orjson
import pyvips
from sqlalchemy import text

from holdfast.status import media_slots
from services.media.accepting import StoredSource, accept_asset
from services.media.blobs import Blobs
from services.media.options import Options
from services.media.presets import preset_set
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from tests.faults.rig import Rig
from tests.integration.media.films import film

TENANT = "t"
PROCESSING = "task IN ('media.process_asset', 'media.process_in_bulk')"
ENDED = text(f"SELECT count(*) FROM job WHERE {PROCESSING} AND state IN ('completed', 'dead', 'cancelled')")
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", random.SystemRandom().randrange(10_000)))


class Studio:
    """A rig with media workers, and what was uploaded to it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.folder = rig.folder / "media"
        self.folder.mkdir()
        self.blobs = Blobs(str(self.folder))
        self.assets: list[str] = []

    def start(self) -> None:
        env = {"HOLDFAST_MEDIA_STORAGE_URL": str(self.folder), "HOLDFAST_MEDIA_SLOTS": "2"}
        self.rig.relay(HOLDFAST_QUEUES="media,media-bulk")
        for name, factory, processes in (("media", "create_broker", 2), ("bulk", "create_bulk_broker", 1)):
            self.rig.worker_of(f"tests.faults.media_worker:{factory}", name, processes=processes, slots=4, **env)

    async def upload(self, content: bytes, priority: str = "interactive", kind: str = "image") -> str:
        asset_id = new_id("ast")
        key = f"assets/{asset_id}/source"
        path = self.rig.folder / asset_id
        path.write_bytes(content)
        await self.blobs.put_file(key, path)
        presets = orjson.dumps(preset_set("default").wire()).decode()
        source = StoredSource(key, len(content), hashlib.sha256(content).hexdigest())
        async with open_tx(self.rig.database, wake=self.rig.resources.waker.wake) as tx:
            options = Options("default", presets, priority)  # type: ignore[arg-type]
            await accept_asset(tx, TENANT, source, kind, options, asset_id=asset_id)  # type: ignore[arg-type]
        self.assets.append(asset_id)
        return asset_id

    def workers(self) -> list[int]:
        return [*self.rig.active(queue="media"), *self.rig.active(queue="media-bulk")]

    def slots(self) -> list[int]:
        return [slot for worker in self.workers() for slot in media_slots(worker)]

    async def look(self) -> int:
        """Everything that a row names is there, as large as it says and not empty; how many those are."""
        named = 0
        for row in await self.rig.rows("SELECT renditions FROM media_assets WHERE renditions IS NOT NULL"):
            for item in orjson.loads(row.renditions):
                assert (self.folder / item["key"]).stat().st_size == item["size_bytes"] > 0, item
                named += 1
        return named

    async def check(self) -> dict[str, int]:
        """At the end: states, contents and events agree; how many assets ended in each state."""
        found: dict[str, int] = {}
        events = await self._events()
        rows = await self.rig.rows(
            "SELECT a.id, a.renditions, a.error, a.job_id, j.state"
            "  FROM media_assets AS a JOIN job AS j ON j.id = a.job_id"
        )
        assert {row.id for row in rows} == set(self.assets)
        for row in rows:
            found[row.state] = found.get(row.state, 0) + 1
            told = events[row.id]
            assert {data["job_id"] for _, data in told} == {row.job_id}
            last = {"completed": "media.asset.processed.v1", "dead": "media.asset.failed.v1"}[row.state]
            assert sorted(kind for kind, _ in told) == sorted(["media.asset.accepted.v1", last])
            if row.state == "dead":
                (reason,) = [data["reason"] for kind, data in told if kind == last]
                assert orjson.loads(row.error)["code"] == reason
                continue
            for item in orjson.loads(row.renditions):
                content = (self.folder / item["key"]).read_bytes()
                assert hashlib.sha256(content).hexdigest() == item["sha256"]
                if item["kind"] == "image":
                    assert pyvips.Image.new_from_buffer(content, "").width == item["width"]
        return found

    async def _events(self) -> dict[str, list[tuple[str, dict[str, Any]]]]:
        found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for row in await self.rig.rows("SELECT args FROM job WHERE task = 'webhooks.publish_event'"):
            command = orjson.loads(row.args)
            found.setdefault(command["data"]["asset_id"], []).append((command["type"], command["data"]))
        return found


def picture(number: int) -> bytes:
    image = pyvips.Image.gaussnoise(1600, 1100, mean=128, sigma=40, seed=number).cast("uchar")
    return bytes(image.bandjoin([image.flip("horizontal"), image.flip("vertical")]).jpegsave_buffer(Q=60))


async def test_slots_and_workers_killed_at_random_points(rig: Rig) -> None:
    studio, chance = Studio(rig), random.Random(SEED)
    print(f"\n    seed {SEED}")
    for number in range(50):  # each another content: one that keeps ending its slots would be quarantined
        await studio.upload(picture(number), chance.choice(["interactive", "bulk"]))
    for number in range(3):
        path = rig.folder / f"{number}.mp4"
        film(path, "mp4", seconds=1.0 + number / 10)
        await studio.upload(path.read_bytes(), "interactive", "video")
    studio.start()
    await rig.until_workers(2)
    chaos = asyncio.create_task(_kill(studio, chance))
    watching = asyncio.create_task(_watch(studio))
    try:
        await rig.until(ENDED, len(studio.assets), "ended assets", 150)
    finally:
        chaos.cancel()
        watching.cancel()
        done = await asyncio.gather(chaos, watching, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in done), done
    states = await studio.check()
    assert await studio.look() >= 2 * states["completed"]
    assert states["completed"] >= len(studio.assets) - 3, f"too many paid for others' deaths: {states}"


async def test_a_file_that_kills_its_slot_ends_as_a_dead_letter_that_names_the_signal(rig: Rig) -> None:
    studio = Studio(rig)
    poison = await studio.upload(picture(1) + b"POISON")
    others = [await studio.upload(picture(number)) for number in range(4)]
    studio.start()
    await rig.until(ENDED, 5, "ended assets", 90)
    assert await studio.check() == {"completed": len(others), "dead": 1}
    (row,) = await rig.rows("SELECT job_id, error FROM media_assets WHERE id = :id", id=poison)
    error = orjson.loads(row.error)
    assert "SIGKILL" in error["message"], error
    (job,) = await rig.rows("SELECT state, error_message FROM job WHERE id = :id", id=row.job_id)
    assert job.state == "dead"
    assert "SIGKILL" in job.error_message
    crashes = await rig.rows("SELECT job_id FROM job_attempt WHERE outcome = 'crashed'")
    assert not crashes, "the worker was to blame for what its slot did"


async def _kill(studio: Studio, chance: random.Random) -> None:
    """For some seconds a slot at a time, and the workers twice."""
    for turn in range(24):
        await asyncio.sleep(chance.uniform(0.05, 0.4))
        victims = studio.workers() if turn in (8, 17) else studio.slots()
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
    await asyncio.Event().wait()


async def _watch(studio: Studio) -> None:
    while True:
        await studio.look()
        await asyncio.sleep(0.05)
