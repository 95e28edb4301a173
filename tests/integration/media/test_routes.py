"""The media service over HTTP: what is taken in, what is refused, and how a rendition is asked for again."""

import asyncio
from pathlib import Path

import httpx
import pytest

from services.media.app import create_app
from services.media.settings import MediaSettings
from shared.runtime import bodies
from tests.integration.http.places import Place, client_of, expect_problem, on_one_database, place

__all__ = ["place"]


@pytest.fixture
async def client(place: Place, tmp_path: Path):
    app = create_app(place.settings, MediaSettings(storage_url=str(tmp_path / "media")))
    async with client_of(app, await place.key()) as client:
        yield client


@on_one_database
@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=x"])
async def test_an_upload_that_drips_is_cut_and_leaves_nothing(
    place: Place, client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async def drip():
        yield b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        while True:
            await asyncio.sleep(0.01)
            yield b"x"

    monkeypatch.setattr(bodies, "BODY_GRACE_S", 0.2)
    answer = await client.post("/v1/media", content=drip(), headers={"Content-Type": kind})
    expect_problem(answer, 408, "slow_body")
    assert answer.headers["connection"] == "close"
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []
    assert await place.rows("SELECT id FROM media_assets") == []


@on_one_database
async def test_a_preset_set_that_is_not_there_is_told_where_it_was_asked_for(
    place: Place, client: httpx.AsyncClient
) -> None:
    document = expect_problem(await client.post("/v1/media", params={"presets": "nope"}, content=b"x"), 422, "invalid")
    (error,) = document["errors"]
    assert (error["in"], error["pointer"], error["found"]) == ("query", "/presets", "nope")
    assert "default" in error["message"]
