"""A content that kills every slot, through real workers: how often it may, and what becomes of its jobs."""

from __future__ import annotations

from typing import Any

import orjson

from services.media.store_quarantine import lift_quarantine
from shared.db.tx import open_tx
from tests.faults.rig import Rig
from tests.faults.test_media import ENDED, TENANT, Studio, picture


async def test_a_poisonous_content_gets_three_slots_and_no_more(rig: Rig) -> None:
    studio = Studio(rig)
    poison = picture(1) + b"POISON"
    first = await studio.upload(poison)
    studio.start()
    await rig.until(ENDED, 1, "ended assets", 90)
    job = await _job(rig, first)
    assert (job.state, job.attempts) == ("dead", 3), "the third death is the last, whatever attempts are left"
    casualty = (await rig.rows("SELECT * FROM media_casualties"))[0]
    assert (casualty.deaths, casualty.ended_by) == (3, "SIGKILL")

    again = [await studio.upload(poison) for _ in range(3)]
    innocent = await studio.upload(picture(2))
    await rig.until(ENDED, 5, "ended assets", 60)
    for asset in again:
        job = await _job(rig, asset)
        assert (job.state, job.attempts) == ("dead", 1)
        assert "SIGKILL" in job.error_message
        assert job.error["code"] == "content_quarantined"
    assert (await _job(rig, innocent)).state == "completed"
    assert (await rig.rows("SELECT deaths FROM media_casualties"))[0].deaths == 3, "it was given a slot"

    async with open_tx(rig.database) as tx:
        assert await lift_quarantine(tx, TENANT, casualty.sha256)
    lifted = await studio.upload(poison)
    await rig.until(ENDED, 6, "ended assets", 90)
    assert (await _job(rig, lifted)).attempts == 3


class _Job:
    def __init__(self, row: Any, attempts: int) -> None:
        self.state, self.error_message, self.attempts = row.state, row.error_message, attempts
        self.error = orjson.loads(row.error or "{}")


async def _job(rig: Rig, asset: str) -> _Job:
    (row,) = await rig.rows(
        "SELECT j.id, j.state, j.error_message, a.error FROM media_assets AS a JOIN job AS j ON j.id = a.job_id"
        " WHERE a.id = :id",
        id=asset,
    )
    return _Job(row, len(await rig.rows("SELECT job_id FROM job_attempt WHERE job_id = :id", id=row.id)))
