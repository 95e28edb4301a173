"""One body in: its bytes tell what it is, it is stored once, nothing counts before its row, and all of it goes."""

import asyncio
from pathlib import Path

import pytest

from services.media import blobs as blobs_module
from services.media import tally
from services.media.room import Room
from shared.kernel.errors import Conflict
from tests.integration.http.places import Place, expect_problem, on_one_database
from tests.integration.media.ingesting import (
    JPEG,
    PNG,
    Service,
    bucket,
    full,
    jpeg,
    on_a_directory,
    place,
    s3_server,
    service,
    serving,
    storage,
)

__all__ = ["bucket", "place", "s3_server", "service", "storage"]
FORM = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\n%b\r\n--x--\r\n'
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=x"}


async def test_the_same_bytes_are_one_source_whichever_way_they_come(service: Service) -> None:
    body = jpeg(300_000)
    first = (await service.upload(body, headers={"Content-Type": "text/plain"})).json()
    second = (await service.client.post("/v1/media", content=FORM % body, headers=FORM_TYPE)).json()
    assert first["id"] != second["id"]
    rows = await service.place.rows("SELECT source_id, source_key, sha256, kind FROM media_assets")
    assert rows[0] == rows[1]
    assert rows[0]["kind"] == "image"
    assert await service.keys() == [rows[0]["source_key"]]
    assert await service.read(rows[0]["source_key"]) == body


async def test_tenants_share_nothing(service: Service) -> None:
    body = jpeg()
    ours = await service.upload(body)
    theirs = await service.upload(body, headers=await service.other())
    assert {**ours.json(), "id": 0, "job": 0} == {**theirs.json(), "id": 0, "job": 0}
    assert len(await service.keys()) == 2


async def test_a_source_goes_with_its_last_asset(service: Service) -> None:
    ids = [(await service.upload(jpeg())).json()["id"] for _ in range(3)]
    for number, one in enumerate(ids, start=1):
        assert len(await service.keys()) == 1
        await service.delete(one)
        assert len(await service.place.rows("SELECT id FROM media_sources")) == (number < len(ids))
    assert await service.keys() == []
    again = (await service.upload(jpeg())).json()["id"]
    (row,) = await service.place.rows("SELECT source_key FROM media_assets WHERE id = :id", id=again)
    assert await service.read(row["source_key"]) == jpeg()


@on_a_directory
async def test_uploads_and_deletes_of_the_same_bytes_at_once_lose_and_leave_nothing(service: Service) -> None:
    """Whoever adds a reference while the last one goes finds the source there, or makes a new one."""
    body = jpeg(5_000)

    async def come_and_go(stays: bool) -> str | None:
        asset = (await service.upload(body)).json()["id"]
        if stays:
            return str(asset)
        await service.delete(asset)
        return None

    for _ in range(4):
        stayed = await asyncio.gather(*[come_and_go(number % 5 == 0) for number in range(15)])
        kept = [one for one in stayed if one]
        rows = await service.place.rows("SELECT id, source_key FROM media_assets")
        assert sorted(row["id"] for row in rows) == sorted(kept)
        (key,) = {row["source_key"] for row in rows}
        assert await service.keys() == [key]
        assert await service.read(key) == body
        await asyncio.gather(*[service.delete(one) for one in kept])
        assert await service.keys() == []
        assert await service.place.rows("SELECT id FROM media_sources") == []


async def test_a_key_is_answered_when_there_is_room_for_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "once"}
    await service.client.put("/v1/media/presets/mine", json={"image": [{"name": "a", "width": 9, "height": 9}]})
    path = "/v1/media?presets=mine"
    first = await service.client.post(path, content=jpeg(1_000), headers=key)
    asset = first.json()["id"]
    await service.client.post(f"/v1/media/{asset}/cancel")
    anew = await service.client.post(f"/v1/media/{asset}/reprocess", headers=key)
    assert (first.status_code, anew.status_code) == (202, 202), anew.text
    await service.client.delete("/v1/media/presets/mine")
    monkeypatch.setattr(Room, "take", full)
    expect_problem(await service.client.post("/v1/media", content=jpeg(1_000)), 429, "media_queue_full")
    again = await service.client.post(path, content=jpeg(1_000), headers=key)
    assert (again.status_code, again.json(), again.headers["idempotent-replay"]) == (202, first.json(), "true")
    expect_problem(
        await service.client.post(path, content=jpeg(1_000, "b"), headers=key), 422, "idempotency_key_reused"
    )
    assert (await service.client.post(f"/v1/media/{asset}/reprocess", headers=key)).json() == anew.json()
    assert len(await service.keys()) == 1


@on_one_database
async def test_a_replay_and_a_conflict_store_nothing_more(service: Service) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await service.upload(jpeg(), headers=headers)
    again = await service.upload(jpeg(), headers=headers)
    assert first.json() == again.json()
    expect_problem(await service.upload(jpeg(mark="other"), headers=headers), 422, "idempotency_key_reused")
    assert len(await service.keys()) == 1
    assert len(await service.place.rows("SELECT id FROM media_assets")) == 1


@on_one_database
@pytest.mark.parametrize(
    "body",
    [b"#EXTM3U\nhttp://x/", b"<svg/>", b"%PDF-1.7", b"GIF", b"ffconcat version 1.0\n", b"plain text" * 1_000],
    ids=lambda body: body[:8].decode(),
)
async def test_what_is_not_taken_is_refused_by_its_bytes_and_not_stored(service: Service, body: bytes) -> None:
    for options in ({"content": body, "headers": {"Content-Type": "image/jpeg"}}, {"files": {"f": ("a.jpg", body)}}):
        document = expect_problem(await service.client.post("/v1/media", **options), 415, "unsupported_format")
        assert "taken are JPEG" in document["detail"]
    assert await service.keys() == []


@on_one_database
async def test_each_kind_has_its_own_limit_and_is_told_before_it_is_stored(place: Place, storage: str) -> None:
    async with serving(place, storage, upload_limit_bytes=50_000, image_size_limit_bytes=5_000) as service:
        read = 0

        async def streamed():
            nonlocal read
            yield jpeg(4_500)
            for _ in range(1_000):
                read += 1
                yield b"x" * 40

        answer = await service.client.post("/v1/media", content=streamed())
        document = expect_problem(answer, 413, "body_too_large")
        assert document["limit_bytes"] == 5_000 < document["found_bytes"]
        assert read < 20, "it was read on after it was too large"
        document = expect_problem(await service.upload(jpeg(5_001)), 413, "body_too_large")
        assert document["found_bytes"] == 5_001, "its declared length was known"
        assert (await service.upload(jpeg(5_000))).status_code == 202
        flac = b"fLaC\x00\x00\x00\x22" + bytes(20_000)
        assert (await service.upload(flac)).status_code == 202
        assert (await service.place.rows("SELECT kind FROM media_assets ORDER BY kind DESC"))[1]["kind"] == "audio"
        assert len(await service.keys()) == 2


@on_one_database
@on_a_directory
async def test_a_disk_that_is_nearly_full_is_told_and_left_alone(
    place: Place, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_000_000

    async with serving(place, storage, disk_reserve_bytes=900_000) as service:
        monkeypatch.setattr(blobs_module.shutil, "disk_usage", lambda _: Usage)
        assert (await service.upload(jpeg(50_000))).status_code == 202
        document = expect_problem(await service.upload(jpeg(200_000)), 507, "storage_full")
        assert (document["reserve_bytes"], document["found_bytes"]) == (900_000, 1_000_000)
        monkeypatch.setattr(tally, "ROOM_EVERY_BYTES", 100)

        async def undeclared():
            for number in range(10):
                Usage.free -= 20_000
                yield jpeg(2_000) if number == 0 else bytes(5_000)

        expect_problem(await service.client.post("/v1/media", content=undeclared()), 507, "storage_full")
        assert len(await service.keys()) == 1


@on_one_database
@on_a_directory
async def test_a_form_is_streamed_and_never_put_on_a_disk_of_its_own(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", None)
    body = jpeg(3_000_000)

    async def streamed():
        form = FORM % body
        for at in range(0, len(form), 65_536):
            yield form[at : at + 65_536]

    answer = await service.client.post("/v1/media", content=streamed(), headers=FORM_TYPE)
    assert answer.status_code == 202, answer.text
    assert answer.json()["size_bytes"] == len(body)


@on_one_database
@pytest.mark.parametrize(
    "tail",
    [
        b"\r\n--x\r\n",
        b"\r\n--x",
        b"",
        b'\r\n--x\r\nContent-Disposition: form-data; name="g"; filename="b"\r\n\r\nb\r\n--x--\r\n',
    ],
)
async def test_a_form_that_ends_wrongly_leaves_nothing(service: Service, tail: bytes) -> None:
    content = (FORM % jpeg(200_000)).removesuffix(b"\r\n--x--\r\n") + tail
    answer = await service.client.post("/v1/media", content=content, headers=FORM_TYPE)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("unreadable_form", "not_one_file")
    assert await service.keys() == []


@on_one_database
async def test_the_bytes_of_a_commit_that_is_refused_go_and_of_one_that_broke_stay(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.media.routes import assets

    async def refuse(*_, **__):
        raise Conflict("no")

    monkeypatch.setattr(assets, "accept_asset", refuse)
    expect_problem(await service.upload(jpeg()), 409, "conflict")
    assert await service.keys() == []

    async def late():
        raise TimeoutError

    async def broken(tx, *_, **__):
        tx.before_commit(late)
        return "ast", "job"

    monkeypatch.setattr(assets, "accept_asset", broken)
    assert (await service.client.post("/v1/media", content=jpeg())).status_code >= 500
    assert len(await service.keys()) == 1, "its commit may have happened: the sweep will look"


@on_one_database
async def test_a_head_that_comes_in_drops_is_waited_for(service: Service) -> None:
    async def drops():
        for byte in PNG + bytes(100):
            yield bytes([byte])

    assert (await service.client.post("/v1/media", content=drops())).status_code == 202
    expect_problem(await service.upload(JPEG[:2]), 415, "unsupported_format")
    expect_problem(await service.upload(b""), 422, "empty_body")


@on_one_database
@on_a_directory
async def test_no_half_written_file_is_ever_under_its_key(service: Service, storage: str) -> None:
    seen: set[str] = set()

    async def slow():
        for number in range(8):
            yield jpeg(1_000_000) if number == 0 else bytes(1_000_000)
            found = [path for path in Path(storage).rglob("*") if path.is_file()]  # noqa: ASYNC240
            seen.update(path.name for path in found)

    assert (await service.client.post("/v1/media", content=slow())).status_code == 202
    assert "source" not in seen, "the object appeared before it was whole"
    assert [key.rsplit("/", 1)[1] for key in await service.keys()] == ["source"]
