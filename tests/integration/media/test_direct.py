"""Direct uploads: the client writes to the bucket itself, and nothing counts before it was read and checked."""

import asyncio
import hashlib
from typing import Any

import boto3
import httpx
import pytest

from services.media.blobs import Blobs
from services.media.direct import Done
from services.media.room import Room
from services.media.store_uploads import upload_sweep
from shared.db.sweep import sweep_all
from tests.integration.http.places import Place, expect_problem, on_one_database
from tests.integration.media.ingesting import (
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
on_a_bucket = pytest.mark.parametrize("storage", ["s3"], indirect=True)


async def begin(service: Service, size: int, **more: str) -> dict[str, str]:
    answer = await service.client.post("/v1/media/direct", json={"size_bytes": size, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def put(url: str, content: bytes) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.put(url, content=content)).status_code


@on_a_bucket
async def test_what_was_put_is_read_checked_and_becomes_an_asset(service: Service) -> None:
    body = jpeg(700_000)
    made = await begin(service, len(body), priority="bulk")
    assert made["method"] == "PUT"
    assert await put(made["url"], body) == 200
    assert await service.place.rows("SELECT id FROM media_assets") == []
    answers = [await service.client.post(made["complete"]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json(), "saying it twice is saying it once"
    asset = answers[0].json()["id"]
    assert (await service.client.get(f"/v1/media/{asset}")).json()["state"] == "fetching"
    await service.run("media.assemble_upload")
    shown = (await service.client.get(f"/v1/media/{asset}")).json()
    assert (shown["state"], shown["sha256"]) == ("accepted", hashlib.sha256(body).hexdigest())
    (key,) = await service.keys()
    assert key.startswith("sources/")
    assert await service.read(key) == body
    assert await put(made["url"], jpeg(700_000, "later")) == 200, "its URL works until its time is over"
    assert await service.read(key) == body, "and reaches nothing that counts"
    await service.delete(asset)
    assert await service.keys() == []


@on_one_database
@on_a_bucket
async def test_what_has_not_come_or_is_another_size_is_told(service: Service) -> None:
    made = await begin(service, 1_000)
    expect_problem(await service.client.post(made["complete"]), 409, "not_uploaded")
    await put(made["url"], jpeg(999))
    document = expect_problem(await service.client.post(made["complete"]), 409, "not_uploaded")
    assert (document["found_bytes"], document["expected_bytes"]) == (999, 1_000)
    await put(made["url"], jpeg(1_000))
    assert (await service.client.post(made["complete"])).status_code == 202


@on_one_database
@on_a_bucket
async def test_a_lie_about_the_kind_ends_on_the_asset_and_leaves_nothing(service: Service) -> None:
    made = await begin(service, 1_000)
    await put(made["url"], b"#EXTM3U\n" + bytes(992))
    asset = (await service.client.post(made["complete"])).json()["id"]
    assert (await service.run("media.assemble_upload"))["state"] == "dead"
    shown = (await service.client.get(f"/v1/media/{asset}")).json()
    assert (shown["state"], shown["error"]["code"]) == ("failed", "unsupported_format")
    assert await service.keys() == []


@on_one_database
@on_a_bucket
async def test_what_changes_between_the_check_and_the_reading_is_not_taken(service: Service) -> None:
    made = await begin(service, 1_000)
    await put(made["url"], jpeg(1_000))
    asset = (await service.client.post(made["complete"])).json()["id"]
    await put(made["url"], jpeg(5_000_000))
    assert (await service.run("media.assemble_upload"))["state"] == "dead"
    assert (await service.client.get(f"/v1/media/{asset}")).json()["error"]["code"] == "blob_missing"
    assert await service.keys() == []


@on_a_directory
async def test_what_is_called_complete_while_it_expires_stays(service: Service) -> None:
    """The deletion has chosen its row, waits for the one who completes it, and sees none of the new part."""
    database = service.place.database
    url = (
        await service.client.post("/v1/media/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "9"})
    ).headers["location"]
    await service.place.rows("UPDATE media_uploads SET protocol = 'direct'")
    (upload,) = await service.place.rows("SELECT * FROM media_uploads")
    gone: list[str] = []
    expiring = [upload_sweep(upload["expires_at"] + 1, 0, gone)]

    async def waits() -> None:
        while not await service.place.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            pass

    async with service.app.state.resources.tx() as tx:
        asset, _ = await Done(upload, service.settings.upload_keep_s).promise(tx)
        sweeping = asyncio.create_task(sweep_all(database, expiring, batch=100, budget_s=5))
        if database.dialect != "sqlite":  # there, nobody looks while another writes
            await asyncio.wait_for(waits(), 5)
    await sweeping
    assert gone == []
    (kept,) = await service.place.rows("SELECT asset_id FROM media_uploads")
    assert (kept["asset_id"], url.rpartition("/")[2]) == (asset, upload["id"])
    assert len(await service.place.rows("SELECT key FROM media_upload_parts")) == 1


@on_one_database
@on_a_bucket
async def test_nobody_else_completes_it_and_a_key_makes_it_once(service: Service) -> None:
    made = await begin(service, 1_000)
    await put(made["url"], jpeg(1_000))
    expect_problem(await service.client.post(made["complete"], headers=await service.other()), 404, "not_found")
    headers = {"Idempotency-Key": "once"}
    first, second = [
        await service.client.post("/v1/media/direct", json={"size_bytes": 5}, headers=headers) for _ in range(2)
    ]
    assert (first.status_code, second.status_code, second.headers["idempotent-replay"]) == (201, 201, "true")
    assert {**first.json(), "url": None} == {**second.json(), "url": None}
    assert await put(second.json()["url"], jpeg(5)) == 200, "signed again, for the same object"
    assert (await service.client.get(first.headers["location"])).json()["protocol"] == "direct"
    kept = "".join(row["body"] for row in await service.place.rows("SELECT body FROM dedup"))
    assert first.json()["id"] in kept
    assert "http" not in kept.lower(), "who reads the table cannot write to the bucket"
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
    other = (await service.client.post("/v1/media/uploads", headers=tus)).headers["location"].rpartition("/")[2]
    expect_problem(await service.client.post(f"/v1/media/direct/{other}/complete"), 404, "not_found")
    answer = await service.client.patch(
        f"/v1/media/uploads/{made['id']}", content=b"x",
        headers={**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
    )  # fmt: skip
    expect_problem(answer, 404, "not_found")


@on_one_database
@on_a_bucket
async def test_no_transaction_is_open_while_it_is_signed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials may have to be fetched first: the writer's turn is free meanwhile, and so is the loop."""
    real, turns = Blobs.presign, []

    async def slow(self: Blobs, *given: Any, **named: Any) -> str:
        async with asyncio.timeout(2), service.app.state.resources.tx():
            turns.append(1)
        return await real(self, *given, **named)

    monkeypatch.setattr(Blobs, "presign", slow)
    await begin(service, 5)
    assert turns == [1]


@on_a_bucket
async def test_a_key_is_answered_whatever_has_changed_since(
    place: Place, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(place, storage, uploads_max=1) as service:
        await service.client.put("/v1/media/presets/mine", json={"image": [{"name": "a", "width": 9, "height": 9}]})
        sent = [
            ("/v1/media/from-url", {"url": "https://example.com/a", "presets": "mine"}),
            ("/v1/media/direct", {"size_bytes": 1_000, "presets": "mine"}),
        ]
        firsts = []
        for path, body in sent:
            firsts.append(await service.client.post(path, json=body, headers={"Idempotency-Key": "k"}))
        made = firsts[1].json()
        await put(made["url"], jpeg(1_000))
        whole = await service.client.post(made["complete"], headers={"Idempotency-Key": "k"})
        await service.client.delete("/v1/media/presets/mine")
        await begin(service, 5)
        monkeypatch.setattr(Room, "promise", full)
        await service.delete(whole.json()["id"])
        sent.append((made["complete"], None))
        for (path, body), first in zip(sent, (*firsts, whole), strict=True):
            again = await service.client.post(path, json=body, headers={"Idempotency-Key": "k"})
            assert (again.status_code, again.json()["id"]) == (first.status_code, first.json()["id"]), again.text
            assert again.headers["idempotent-replay"] == "true"
        other = await service.client.post(
            sent[0][0], json={**sent[0][1], "url": "https://x.org/"}, headers={"Idempotency-Key": "k"}
        )
        expect_problem(other, 422, "idempotency_key_reused")


@on_one_database
@pytest.mark.parametrize("storage", ["local"], indirect=True)
async def test_a_directory_takes_none(service: Service) -> None:
    answer = await service.client.post("/v1/media/direct", json={"size_bytes": 5})
    expect_problem(answer, 409, "direct_off")


@on_one_database
@on_a_bucket
async def test_it_is_bounded_as_any_upload(place: Place, storage: str) -> None:
    async with serving(place, storage, upload_limit_bytes=5_000, uploads_max=1) as service:
        answer = await service.client.post("/v1/media/direct", json={"size_bytes": 5_001})
        expect_problem(answer, 413, "body_too_large")
        await begin(service, 5_000)
        answer = await service.client.post("/v1/media/direct", json={"size_bytes": 5})
        expect_problem(answer, 429, "too_many_uploads")


async def test_what_breaks_or_is_cancelled_leaves_no_multipart_upload_behind(bucket: str, s3_server: str) -> None:
    blobs = Blobs(bucket)
    client = boto3.client("s3", endpoint_url=s3_server)
    name = bucket.split("/")[2]

    async def stream(fed: asyncio.Event | None = None):
        for _ in range(3):
            yield bytes(6 * 1024 * 1024)
        if fed is None:
            raise ConnectionResetError("gone")
        fed.set()
        await asyncio.Event().wait()

    with pytest.raises(ConnectionResetError):
        await blobs.put_stream("a/b", stream(), limit_bytes=10**9)
    fed = asyncio.Event()
    storing = asyncio.create_task(blobs.put_stream("a/c", stream(fed), limit_bytes=10**9))
    await fed.wait()
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    assert client.list_multipart_uploads(Bucket=name).get("Uploads", []) == []
    assert client.list_objects_v2(Bucket=name).get("Contents", []) == []
