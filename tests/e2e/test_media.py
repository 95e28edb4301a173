"""An asset's life as a person decides it: uploaded, followed, cancelled while it runs, processed again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import pyvips

from tests.e2e.running import Up, alive, wait_until
from tests.e2e.steps import PHOTO, ok, processed, upload
from tests.stalls import Stalls

SLOW = {"image": [{"name": "slow", "width": 4000, "format": "avif", "quality": 90, "effort": 9}]}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, which an encoder takes long for."""
    image = pyvips.Image.gaussnoise(4000, 3000, mean=128, sigma=40, seed=1).cast("uchar")
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    path.write_bytes(image.bandjoin([image.flip("horizontal"), image.flip("vertical")]).jpegsave_buffer(Q=70))
    return path


def slots(up: Up) -> set[int]:
    return {pid for role in up.status()["roles"] if role["name"] == "media-slot" for pid in role["pids"]}


def shown(http: httpx.Client, asset_id: str) -> dict[str, Any]:
    return ok(http.get(f"/v1/media/{asset_id}"))


def test_a_slot_that_works_on_what_is_cancelled_is_gone_within_a_second(
    up: Up, http: httpx.Client, large: Path
) -> None:
    asset = ok(http.post("/v1/media", content=large.read_bytes()), 202)["id"]
    before = processed(http, asset)["renditions"]
    ok(http.post(f"/v1/media/{asset}/reprocess", json={"presets": SLOW}), 202)
    wait_until(lambda: (shown(http, asset)["progress"] or {}).get("fraction", 0) >= 0.3, "decoded")
    working = slots(up)
    with Stalls() as stalls:
        answer = ok(http.post(f"/v1/media/{asset}/cancel"), 202)
        asked_s = time.monotonic()
        assert (answer["requested"], answer["state"]) == (True, "processing")
        wait_until(lambda: any(not alive(pid) for pid in working), "a slot is gone")
        gone_s = time.monotonic() - asked_s
        document = wait_until(
            lambda: found if (found := shown(http, asset))["state"] == "cancelled" else None, "cancelled"
        )
        ended_s = time.monotonic() - asked_s
    print(f"\n    slot gone after {gone_s:.2f} s, cancelled after {ended_s:.2f} s; {stalls.seconds:.2f} s withheld")
    assert gone_s - stalls.seconds < 1.0
    assert ended_s - stalls.seconds < 2.0
    assert document["renditions"] == before, "what was there before is what is shown"
    assert http.post(f"/v1/media/{asset}/cancel").status_code == 409
    wait_until(lambda: len(slots(up)) == len(working), "its slot is back")


def test_new_renditions_take_the_place_of_old_ones_all_at_once(up: Up, http: httpx.Client) -> None:
    asset = upload(http)["id"]
    old = processed(http, asset)
    presets = {"image": [{"name": "tiny", "width": 64, "format": "jpeg"}]}
    again = ok(http.post(f"/v1/media/{asset}/reprocess", json={"presets": presets, "priority": "bulk"}), 202)
    new = wait_until(
        lambda: found if (found := shown(http, asset))["renditions"] != old["renditions"] else None, "replaced"
    )
    assert (new["state"], new["job"], new["preset_set"]) == ("processed", again["job"], "custom")
    (tiny,) = new["renditions"]
    assert (tiny["name"], tiny["width"], tiny["format"]) == ("tiny", 64, "jpeg")
    assert ok_bytes(http, tiny["url"])[:2] == b"\xff\xd8"
    assert http.get(f"/v1/media/{asset}/renditions/w320").status_code == 404
    jobs = ok(http.get("/v1/jobs", params={"task": "media.delete_renditions"}))["items"]
    mine = [ok(http.get(f"/v1/jobs/{job['id']}"))["args"] for job in jobs]
    (command,) = [args for args in mine if args["asset_id"] == asset]
    assert sorted(key.rpartition("/")[2] for key in command["keys"]) == ["w1280.webp", "w320.webp"]


def test_progress_comes_over_the_stream_of_the_job(up: Up) -> None:
    with up.client() as http:
        asset = upload(http)
    said = up.cli("jobs", "watch", asset["job"], "--json")
    assert said.returncode == 0, said.stderr
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert events[-1]["event"] == "result"
    assert events[-1]["data"]["state"] == "completed"
    assert events[-1]["data"]["progress"]["fraction"] == 1.0


def test_the_command_line_tells_the_same_story(up: Up, tmp_path: Path) -> None:
    said = up.cli("media", "upload", str(PHOTO), "--wait", "--json")
    assert said.returncode == 0, said.stderr
    asset = json.loads(said.stdout)
    assert (asset["state"], asset["kind"], asset["priority"]) == ("processed", "image", "interactive")
    plain = up.cli("media", "show", asset["id"])
    assert plain.returncode == 0
    assert "w1280" in plain.stdout
    listed = json.loads(up.cli("media", "list", "--state", "processed", "--limit", "1", "--json").stdout)
    assert [item["id"] for item in listed["items"]] == [asset["id"]]
    assert asset["id"] in up.cli("media", "list").stdout
    again = up.cli("media", "reprocess", asset["id"], "--set", '{"image": [{"name": "w9", "width": 9}]}', "--wait")
    assert again.returncode == 0, again.stderr
    assert "w9" in again.stdout
    refused = up.cli("media", "cancel", asset["id"])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "only what has not ended" in refused.stderr
    assert "default" in up.cli("media", "presets").stdout
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(PHOTO.read_bytes()[:3_000])
    failed = up.cli("media", "upload", str(broken), "--wait")
    assert failed.returncode == 1
    assert "error: " in failed.stdout
    missing = up.cli("media", "upload", str(tmp_path / "nothing.jpg"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "cannot be read" in missing.stderr


def ok_bytes(http: httpx.Client, url: str) -> bytes:
    answer = http.get(url)
    assert answer.status_code == 200, answer.text
    return answer.content
