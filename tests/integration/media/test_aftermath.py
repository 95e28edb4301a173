"""Assets whose job the ledger itself has ended are told of once, and only they."""

from pathlib import Path

import orjson

from services.media import aftermath
from services.media.accepting import StoredSource, accept_asset
from services.media.options import Options
from shared.db.tx import open_tx
from shared.runtime.resources import open_resources
from tests.integration.http.places import Place, place

__all__ = ["place"]
SOURCE = StoredSource("k", 1, "ab")


async def test_an_asset_whose_job_died_untold_gets_its_error_and_one_event(place: Place, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(aftermath, "SETTLE_S", -60.0)
    assets = {}
    async with open_tx(place.database) as tx:
        for name in ("died", "told", "waits"):
            assets[name] = await accept_asset(tx, "acme", SOURCE, "image", Options("default", "{}"))
    await place.end([assets["died"][1], assets["told"][1]], "dead")
    await place.rows("UPDATE media_assets SET error = '{}' WHERE id = :id", id=assets["told"][0])
    async with open_resources(place.settings) as resources:
        assert await aftermath.tell_of_dead(resources, 0) == 1
        assert await aftermath.tell_of_dead(resources, 0) == 0
    rows = {row["id"]: row["error"] for row in await place.rows("SELECT id, error FROM media_assets")}
    assert orjson.loads(rows[assets["died"][0]]) == {"code": "Boom", "message": "it broke"}
    assert (rows[assets["told"][0]], rows[assets["waits"][0]]) == ("{}", None)
    told = [orjson.loads(row["args"]) for row in await place.rows("SELECT args FROM job WHERE queue = 'webhooks'")]
    (failed,) = [event["data"] for event in told if event["type"] == "media.asset.failed.v1"]
    assert (failed["asset_id"], failed["job_id"], failed["reason"]) == (*assets["died"], "Boom")
