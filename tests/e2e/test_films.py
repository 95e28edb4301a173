"""A film and a sound from the upload to files that a browser plays, and a hostile one, by a running system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from tests.e2e.running import Up, wait_until
from tests.e2e.steps import ok
from tests.integration.media import films

TYPES = {
    "poster": "image/webp",
    "720p": "video/mp4",
    "480p": "video/mp4",
    "preview": "image/webp",
    "peaks": "application/json",
    "aac": "audio/mp4",
}


def ended(http: httpx.Client, asset: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = ok(http.get(f"/v1/media/{asset}"))
        return found if found["state"] in ("processed", "failed") else None

    return wait_until(look, "the asset has ended", 90)


@pytest.mark.parametrize(
    ("form", "kind", "names"),
    [("mov", "video", ["poster", "720p", "480p", "preview"]), ("mp3", "audio", ["peaks", "aac"])],
)
def test_what_is_uploaded_comes_back_as_files_that_can_be_played(
    up: Up, http: httpx.Client, tmp_path: Path, form: str, kind: str, names: list[str]
) -> None:
    if kind == "video":
        films.film(tmp_path / "in", form, seconds=2, size=(320, 180), rotation=270)
    else:
        films.sound(tmp_path / "in", form, seconds=2)
    content = (tmp_path / "in").read_bytes()
    asset = ok(http.post("/v1/media", content=content, headers={"Content-Type": "image/jpeg"}), 202)["id"]
    document = ended(http, asset)
    assert document["state"] == "processed", document["error"]
    assert (document["kind"], document["probe"]["kind"]) == (kind, kind)
    assert [one["name"] for one in document["renditions"]] == names
    for one in document["renditions"]:
        answer = http.get(one["url"])
        assert answer.status_code == 200
        assert answer.headers["content-type"] == TYPES[one["name"]] == one["content_type"]
        assert len(answer.content) == one["size_bytes"]
        part = http.get(one["url"], headers={"Range": "bytes=4-11"})
        assert (part.status_code, part.content) == (206, answer.content[4:12])
        if one["kind"] in ("video", "audio"):
            (tmp_path / "got").write_bytes(answer.content)
            with av.open(str(tmp_path / "got")) as played:
                assert played.duration / av.time_base == pytest.approx(2.0, abs=0.2)
            assert one["duration_s"] == pytest.approx(2.0, abs=0.1)
        if one["kind"] == "video":
            assert (one["width"], one["height"]) == (180, 320)
        if one["kind"] == "peaks":
            assert json.loads(answer.content)["version"] == 2


def test_a_playlist_under_another_name_is_refused_before_anything_is_stored(up: Up, http: httpx.Client) -> None:
    answer = http.post(
        "/v1/media", content=b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", headers={"Content-Type": "video/mp4"}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_format")
    assert "HLS" in answer.text


def test_a_film_that_was_cut_off_fails_and_says_why(up: Up, http: httpx.Client, tmp_path: Path) -> None:
    films.film(tmp_path / "in", "mp4", seconds=2)
    content = (tmp_path / "in").read_bytes()
    asset = ok(http.post("/v1/media", content=content[: len(content) // 2]), 202)["id"]
    document = ended(http, asset)
    assert (document["state"], document["error"]["code"]) == ("failed", "truncated")
    assert document["renditions"] == []
