"""What a call says of itself on its way reaches whoever waits for it, before its answer."""

import asyncio

import pytest

from services.media.errors import SlotDied
from services.media.pictures.images import make_renditions
from services.media.presets import preset_set
from services.media.slots import reporting
from tests.integration.media.pictures import noise, save


async def test_reports_come_in_order_and_to_their_own_caller(pool):
    said = {count: [] for count in (3, 5, 7, 9)}
    calls = [
        pool.run("steps", {"count": count}, timeout_s=5, on_progress=lambda *told, n=count: said[n].append(told))
        for count in said
    ]
    assert [answer["count"] for answer in await asyncio.gather(*calls)] == list(said)
    for count, told in said.items():
        assert told == [((step + 1) / count, f"step {step + 1}") for step in range(count)]


async def test_a_call_that_nobody_listens_to_runs_as_well(pool):
    assert await pool.run("steps", {"count": 1_000}, timeout_s=5) == {"count": 1_000}


async def test_a_slot_whose_reports_cannot_be_taken_fails_its_own_call_only(pool):
    def refuse(fraction, note):
        raise TypeError(f"{fraction} is no number")

    with pytest.raises(SlotDied):
        await pool.run("stray", {}, timeout_s=5, on_progress=refuse)
    assert await pool.run("steps", {"count": 2}, timeout_s=5) == {"count": 2}


def test_a_picture_reports_its_probe_its_decode_and_each_rendition(tmp_path):
    told = []
    photo = save(tmp_path / "photo", noise(400, 300), ".jpg")
    reporting.send_with(lambda *one: told.append(one))
    try:
        presets = preset_set("default").wire()
        make_renditions(photo, str(tmp_path), presets)
    finally:
        reporting.send_with(None)
    assert [note for _, note in told] == ["probed", "decoded", "w320 made", "w1280 made"]
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1][0] < 1.0, "they are still to be stored"
