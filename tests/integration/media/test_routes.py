"""The media service over HTTP: what is taken in, what is refused, and how a rendition is asked for again."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from services.media.app import create_app
from services.media.settings import MediaSettings
from shared.runtime import bodies
from tests.integration.http.places import Place, client_of, expect_problem, on_one_database, place
from tests.integration.media.ingesting import jpeg

__all__ = ["place"]
LIMIT_BYTES = 2_000


@pytest.fixture
async def client(place: Place, tmp_path: Path):
    app = create_app(place.settings, MediaSettings(storage_url=str(tmp_path / "media"), upload_limit_bytes=LIMIT_BYTES))
    async with client_of(app, await place.key()) as client:
        yield client


@on_one_database
@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=x"])
async def test_an_upload_that_drips_is_cut_and_leaves_nothing(
    place: Place, client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async def drip():
        yield b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' if "form" in kind else jpeg(100)
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
@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ([("a", ("a.jpg", b"a")), ("b", ("b.jpg", b"b"))], "not_one_file", "more than one file"),
        ([("a", (None, b"a"))], "not_one_file", "0 files"),
        ([(f"f{number}", (None, b"x")) for number in range(9)], "unreadable_form", "Too many fields"),
    ],
)
async def test_a_form_without_exactly_one_file_is_refused(
    place: Place, client: httpx.AsyncClient, files: list[tuple[str, tuple[str, bytes]]], code: str, words: str
) -> None:
    document = expect_problem(await client.post("/v1/media", files=files), 422, code)
    assert words in document["detail"]
    assert await place.rows("SELECT id FROM media_assets") == []


@on_one_database
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"no form"),
        ("multipart/form-data; boundary=x", b""),
    ],
)
async def test_a_form_that_is_none_is_told_so(client: httpx.AsyncClient, kind: str, content: bytes) -> None:
    answer = await client.post("/v1/media", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("unreadable_form", "not_one_file")
    assert "form" in answer.json()["detail"]


@on_one_database
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "Application/JSON; charset=utf-8"])
async def test_what_is_called_no_file_is_refused_at_once(place: Place, client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/v1/media", content=b"\xff\xd8", headers={"Content-Type": kind})
    document = expect_problem(answer, 415, "wrong_content_type")
    assert document["found"] == kind.partition(";")[0].lower()
    assert answer.headers["accept"] == document["expected"]
    assert "--data-binary" in document["detail"]
    assert await place.rows("SELECT id FROM media_assets") == []


@on_one_database
@pytest.mark.parametrize("size", [LIMIT_BYTES + 1, LIMIT_BYTES + 1_000, LIMIT_BYTES + 100_000])
async def test_what_is_too_large_is_told_with_one_limit_and_one_code(client: httpx.AsyncClient, size: int) -> None:
    async def streamed():
        yield jpeg(size)

    for options in ({"content": b"x" * size}, {"content": streamed()}, {"files": {"f": ("f", jpeg(size))}}):
        document = expect_problem(await client.post("/v1/media", **options), 413, "body_too_large")
        assert document["limit_bytes"] == LIMIT_BYTES < document["found_bytes"]
        assert f"the limit is {LIMIT_BYTES}" in document["detail"]


@on_one_database
async def test_a_preset_set_that_is_not_there_is_told_where_it_was_asked_for(
    place: Place, client: httpx.AsyncClient
) -> None:
    document = expect_problem(await client.post("/v1/media", params={"presets": "nope"}, content=b"x"), 422, "invalid")
    (error,) = document["errors"]
    assert (error["in"], error["pointer"], error["found"]) == ("query", "/presets", "nope")
    assert "default" in error["message"]


@on_one_database
async def test_a_rendition_that_is_known_already_is_not_sent_again(
    place: Place, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "media" / "r").write_bytes(b"RIFF")
    asset = (await client.post("/v1/media", content=jpeg(50))).json()["id"]
    made = [{"name": "w320", "key": "r", "format": "webp", "sha256": "ab", "size_bytes": 4}]
    await place.rows("UPDATE media_assets SET renditions = :made WHERE id = :id", made=json.dumps(made), id=asset)
    path = f"/v1/media/{asset}/renditions/w320"
    for header in ('"ab"', 'W/"ab"', '"x", "ab"', "*"):
        known = await client.get(path, headers={"If-None-Match": header})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", '"ab"'), header
    for headers in ({"If-None-Match": '"x"'}, {}):
        assert (await client.get(path, headers=headers)).content == b"RIFF"
    head = await client.head(path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "4")
