"""Resumable uploads, as tus-js-client and Uppy speak: what was acknowledged is there, and nothing else ever counts."""

import asyncio
import hashlib
import shutil
from base64 import b64encode
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from services.media import parts
from shared.contracts.commands.media import ExpireUploads
from shared.runtime import bodies
from shared.transport.enqueue import enqueue
from tests.integration.http.places import Place, expect_problem, on_one_database
from tests.integration.media.ingesting import (
    Service,
    bucket,
    jpeg,
    on_a_directory,
    place,
    s3_server,
    service,
    serving,
    storage,
)

__all__ = ["bucket", "place", "s3_server", "service", "storage"]
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}
UPLOADS = "/v1/media/uploads"


def meta(**pairs: str) -> dict[str, str]:
    return {"Upload-Metadata": ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())}


def checksum(body: bytes, algorithm: str = "sha1") -> dict[str, str]:
    return {"Upload-Checksum": f"{algorithm} {b64encode(hashlib.new(algorithm, body).digest()).decode()}"}


async def create(service: Service, length: int, **headers: str) -> str:
    answer = await service.client.post(UPLOADS, headers={**TUS, "Upload-Length": str(length), **headers})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def patch(service: Service, url: str, offset: int, content: Any, **headers: str) -> httpx.Response:
    given = {**PART, "Upload-Offset": str(offset), **headers}
    while (answer := await service.client.patch(url, content=content, headers=given)).status_code == 503:
        pass  # a busy machine
    return answer


async def offset_of(service: Service, url: str) -> int:
    return int((await service.client.head(url, headers=TUS)).headers["upload-offset"])


async def test_an_upload_in_parts_becomes_an_asset_with_just_these_bytes(service: Service) -> None:
    body = jpeg(900_000)
    url = await create(service, len(body), **meta(filename="a.jpg", priority="bulk"))
    for at in range(0, len(body), 400_000):
        answer = await patch(service, url, at, body[at : at + 400_000])
        assert answer.status_code == 204, answer.text
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert answer.headers["upload-offset"] == str(min(len(body), at + 400_000))
        assert "upload-expires" in answer.headers
    asset = answer.headers["holdfast-asset"]
    shown = (await service.client.get(f"/v1/media/{asset}")).json()
    assert (shown["state"], shown["kind"], shown["sha256"], shown["size_bytes"]) == ("fetching", None, None, None)
    assert (await service.client.get("/v1/media", params={"state": "fetching"})).json()["items"][0]["id"] == asset

    ended = await service.run("media.assemble_upload")
    assert ended["state"] == "completed"
    shown = (await service.client.get(f"/v1/media/{asset}")).json()
    assert (shown["state"], shown["kind"], shown["priority"]) == ("accepted", "image", "bulk")
    assert shown["sha256"] == hashlib.sha256(body).hexdigest()
    (key,) = await service.keys()
    assert await service.read(key) == body
    assert await service.place.rows("SELECT * FROM media_upload_parts") == []
    head = await service.client.head(url, headers=TUS)  # a client whose last answer was lost
    assert (head.status_code, head.headers["upload-offset"], head.headers["holdfast-asset"]) == (200, "900000", asset)


@on_one_database
async def test_head_says_what_creation_was_told(service: Service) -> None:
    url = await create(service, 5_000, **meta(filename="ü.jpg"))
    head = await service.client.head(url)
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("0", "5000")
    assert head.headers["upload-metadata"] == meta(filename="ü.jpg")["Upload-Metadata"]
    assert head.headers["cache-control"] == "no-store"
    shown = (await service.client.get(url)).json()
    assert (shown["size_bytes"], shown["offset_bytes"], shown["asset"]) == (5_000, 0, None)


@on_one_database
@on_a_directory
async def test_a_key_that_may_only_write_sees_how_far_it_is(service: Service) -> None:
    """As a page has one: it could not go on otherwise."""
    writer, reader = [await service.other(f"media:{right}") for right in ("write", "read")]
    url = await create(service, 5_000, **writer)
    await patch(service, url, 0, jpeg(2_000), **writer)
    for headers in (writer, reader):
        head = await service.client.head(url, headers={**TUS, **headers})
        assert (head.status_code, head.headers.get("upload-offset")) == (200, "2000")
        assert (await service.client.get(url, headers=headers)).json()["offset_bytes"] == 2_000
    none = await service.other("webhooks:read")
    assert (
        expect_problem(await service.client.get(url, headers=none), 403, "not_allowed")["missing_scope"] == "media:read"
    )


@on_one_database
@on_a_directory
async def test_an_empty_part_moves_nothing_and_says_so(service: Service) -> None:
    url = await create(service, 5_000)
    expires = service.place.database.clock.now_us() + 3_600_000_000
    await service.place.rows("UPDATE media_uploads SET expires_at = :at", at=expires)
    empty = await patch(service, url, 0, b"")
    assert (empty.status_code, empty.headers["upload-offset"]) == (204, "0")
    assert empty.headers["upload-expires"] == formatdate(expires // 1_000_000, usegmt=True)
    moved = await patch(service, url, 0, jpeg(100))
    (row,) = await service.place.rows("SELECT expires_at FROM media_uploads")
    assert row["expires_at"] > expires
    assert moved.headers["upload-expires"] == formatdate(row["expires_at"] // 1_000_000, usegmt=True)


@on_one_database
async def test_options_say_what_is_spoken(service: Service) -> None:
    answer = await service.client.options(UPLOADS)
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation", "creation-with-upload", "termination", "expiration", "checksum",
    }  # fmt: skip
    assert answer.headers["tus-max-size"] == str(service.settings.upload_limit_bytes)
    assert "sha1" in answer.headers["tus-checksum-algorithm"]


@on_one_database
async def test_creation_with_upload_takes_the_first_part_or_all(service: Service) -> None:
    body = jpeg(5_000)
    for first in (2_000, 5_000):
        headers = {**PART, "Upload-Length": "5000"}
        answer = await service.client.post(UPLOADS, content=body[:first], headers=headers)
        assert (answer.status_code, answer.headers["upload-offset"]) == (201, str(first))
        assert ("holdfast-asset" in answer.headers) == (first == 5_000)
    assert len(await service.jobs("media.assemble_upload")) == 1


@on_a_directory
async def test_a_creation_that_is_answered_again_says_what_came_with_it(place: Place, storage: str) -> None:
    """Also when there would be room for no other."""
    body, keys = jpeg(5_000), ("part", "all")
    async with serving(place, storage, uploads_max=1) as service:
        for key, first in zip(keys, (2_000, 5_000), strict=True):
            headers = {**PART, "Upload-Length": "5000", "Idempotency-Key": key}
            told, again = [await service.client.post(UPLOADS, content=body[:first], headers=headers) for _ in range(2)]
            assert (told.status_code, again.status_code) == (201, 201), again.text
            assert again.headers["idempotent-replay"] == "true"
            for name in ("location", "upload-offset", "upload-expires", "holdfast-asset", "tus-resumable"):
                assert again.headers.get(name) == told.headers.get(name), name
            assert (again.json(), again.headers["upload-offset"]) == (told.json(), str(first))
            await service.client.delete(told.headers["location"], headers=TUS)
        assert len(await service.jobs("media.assemble_upload")) == 1


async def test_of_two_parts_at_one_offset_one_wins_and_nothing_of_the_other_stays(service: Service) -> None:
    body = jpeg(60_000)
    url = await create(service, len(body))
    for at in range(0, len(body), 20_000):
        mine, others = body[at : at + 20_000], [jpeg(20_000, f"x{number}") for number in range(4)]
        sent = [patch(service, url, at, one) for one in (mine, *others)]
        answers = await asyncio.gather(*sent)
        assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409, 409]
        assert await offset_of(service, url) == at + 20_000
        assert len(await service.keys()) == at // 20_000 + 1, "a loser's part stayed"
    await service.run("media.assemble_upload")
    rows = await service.place.rows("SELECT sha256, size_bytes FROM media_sources")
    assert [row["size_bytes"] for row in rows] == [len(body)]


@on_one_database
@on_a_directory
async def test_what_was_acknowledged_is_what_is_put_together_whatever_goes_wrong_between(service: Service) -> None:
    """Wrong offsets, repeats, broken checksums and parts that are too long change nothing of what is there."""
    body = jpeg(50_000)
    url = await create(service, len(body))
    at = 0
    while at < len(body):
        piece = body[at : at + 7_000]
        wrong = [
            (at + 1, piece, {}, 409), (max(0, at - 7_000), piece, {}, 409 if at else 204),
            (at, piece, checksum(b"other"), 460), (at, bytes(len(body) - at + 1), {}, 413),
        ]  # fmt: skip
        for offset, content, headers, status in wrong[0:1] + wrong[1 if at else 2 :]:
            answer = await patch(service, url, offset, content, **headers)
            assert answer.status_code == status, (at, answer.text)
            assert await offset_of(service, url) == at
        algorithm = ("sha1", "sha256", "sha512")[at // 7_000 % 3]
        answer = await patch(service, url, at, piece, **checksum(piece, algorithm))
        assert answer.status_code == 204, answer.text
        at += len(piece)
    assert (await patch(service, url, at, b"x")).status_code == 413, "it is an asset by now"
    await service.run("media.assemble_upload")
    (key,) = await service.keys()
    assert await service.read(key) == body


@on_one_database
async def test_a_body_of_unknown_length_past_the_end_keeps_none_of_its_last_piece(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PIECE_BYTES", 10_000)
    body = jpeg(25_000)
    url = await create(service, len(body))

    async def streamed():
        yield body
        yield b"x" * 10

    document = expect_problem(await patch(service, url, 0, streamed()), 413, "body_too_large")
    assert document["limit_bytes"] == len(body)
    assert await offset_of(service, url) == 20_000
    assert (await patch(service, url, 20_000, body[20_000:])).status_code == 204
    await service.run("media.assemble_upload")
    (key,) = await service.keys()
    assert await service.read(key) == body


@on_one_database
@on_a_directory
@pytest.mark.parametrize("sealed", [False, True], ids=["", "with a checksum"])
async def test_a_part_that_breaks_off_keeps_what_has_come_unless_it_has_a_checksum(
    service: Service, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    monkeypatch.setattr(bodies, "BODY_SILENCE_S", 0.2)
    body = jpeg(40_000)
    url = await create(service, len(body))

    async def stalls():
        yield body[:30_000]
        await asyncio.Event().wait()

    headers = {**PART, "Upload-Offset": "0", **(checksum(body) if sealed else {})}
    answer = await service.client.patch(url, content=stalls(), headers=headers)
    expect_problem(answer, 503, "slow_part")  # after a 408, clients of tus do not go on
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert await offset_of(service, url) == (0 if sealed else 30_000)
    assert len(await service.keys()) == (0 if sealed else 1)
    at = await offset_of(service, url)
    assert (await patch(service, url, at, body[at:])).status_code == 204


@on_one_database
@on_a_directory
async def test_a_head_that_was_damaged_on_its_way_ends_no_upload(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum tells it from contents that are not taken, which end theirs."""
    monkeypatch.setattr(bodies, "BODY_SILENCE_S", 0.2)
    body = jpeg(40_000)
    damaged, said = b"#EXTM3U\n" + body[8:], checksum(body)
    url = await create(service, len(body))

    async def sent(*chunks: bytes, stalls: bool = False):
        for chunk in chunks:
            yield chunk
        if stalls:
            await asyncio.Event().wait()

    expect_problem(await patch(service, url, 0, damaged, **said), 460, "checksum_mismatch")
    expect_problem(await patch(service, url, 0, sent(damaged, b"x"), **said), 413, "body_too_large")
    headers = {**PART, "Upload-Offset": "0", **said}
    answer = await service.client.patch(url, content=sent(damaged[:30_000], stalls=True), headers=headers)
    expect_problem(answer, 503, "slow_part")
    assert (await offset_of(service, url), await service.keys()) == (0, [])
    expect_problem(await patch(service, url, 0, damaged, **checksum(damaged)), 415, "unsupported_format")
    expect_problem(await service.client.get(url), 404, "not_found")
    url = await create(service, len(body))
    expect_problem(await patch(service, url, 0, damaged, **said), 460, "checksum_mismatch")
    assert (await patch(service, url, 0, body, **said)).status_code == 204
    await service.run("media.assemble_upload")
    (key,) = await service.keys()
    assert await service.read(key) == body


@on_one_database
async def test_refusals_say_what_and_where(service: Service) -> None:
    client = service.client

    async def made(**headers: str) -> httpx.Response:
        return await client.post(UPLOADS, headers={**TUS, "Upload-Length": "5000", **headers})

    answer = await client.post(UPLOADS, headers={"Tus-Resumable": "0.2.2", "Upload-Length": "1"})
    expect_problem(answer, 412, "tus_version")
    assert answer.headers["tus-version"] == "1.0.0"
    for length in ("", "-1", "1.5", "x", "9" * 19):
        expect_problem(await made(**{"Upload-Length": length}), 400, "bad_header")
    expect_problem(await client.post(UPLOADS, headers=TUS), 400, "bad_header")
    expect_problem(await made(**{"Upload-Length": "0"}), 422, "empty_body")
    expect_problem(await made(**{"Upload-Length": str(2**40)}), 413, "body_too_large")
    assert (await made(**{"Upload-Metadata": "name"})).status_code == 201, "a key may stand without a value"
    for text in ("name !", "a YQ==,a YQ==", " ", "x" * 5_000):
        expect_problem(await made(**{"Upload-Metadata": text}), 400, "bad_header")
    expect_problem(await made(**meta(presets="nope")), 422, "invalid")
    expect_problem(await made(**meta(priority="urgent")), 422, "invalid")
    url = await create(service, 5_000)
    for said in ("md5 YQ==", "sha1", "sha1 YQ==", "sha256 !"):
        expect_problem(await patch(service, url, 0, b"x", **{"Upload-Checksum": said}), 400, "bad_header")
    answer = await client.patch(url, content=b"x", headers={**TUS, "Upload-Offset": "0"})
    expect_problem(answer, 415, "wrong_content_type")
    expect_problem(await client.patch(url, content=b"x", headers=PART), 400, "bad_header")
    expect_problem(await client.patch(url, headers={"Content-Type": PART["Content-Type"]}), 412, "tus_version")
    for url in (f"{UPLOADS}/upl_01m81s9dmte5srzwdfgsk0cb4q", f"{UPLOADS}/x"):
        for answer in (await client.get(url), await patch(service, url, 0, b""), await client.delete(url, headers=TUS)):
            expect_problem(answer, 404, "not_found")
    assert await service.keys() == []


@on_one_database
async def test_a_kind_that_is_not_taken_is_told_with_the_first_part(place: Place, storage: str) -> None:
    async with serving(place, storage, image_size_limit_bytes=50_000) as service:
        url = await create(service, 60_000)
        expect_problem(await patch(service, url, 0, b"#EXTM3U\n" + bytes(10_000)), 415, "unsupported_format")
        expect_problem(await service.client.get(url), 404, "not_found")
        url = await create(service, 60_000)
        document = expect_problem(await patch(service, url, 0, jpeg(5_000)), 413, "body_too_large")
        assert (document["limit_bytes"], document["found_bytes"]) == (50_000, 60_000)
        expect_problem(await service.client.get(url), 404, "not_found")
        assert await service.keys() == []
        url = await create(service, 20)
        assert (await patch(service, url, 0, b"no")).status_code == 204, "too little to tell"
        answer = await patch(service, url, 2, b"thing that is known"[:18])
        assert answer.status_code == 204
        await service.run("media.assemble_upload")
        shown = (await service.client.get(f"/v1/media/{answer.headers['holdfast-asset']}")).json()
        assert (shown["state"], shown["error"]["code"]) == ("failed", "unsupported_format")
        assert await service.keys() == []
        assert await service.place.rows("SELECT * FROM media_upload_parts") == []


@on_one_database
async def test_nobody_else_sees_or_moves_an_upload(service: Service) -> None:
    url = await create(service, 5_000)
    other = await service.other()
    for answer in (
        await service.client.get(url, headers=other),
        await service.client.delete(url, headers={**TUS, **other}),
        await patch(service, url, 0, jpeg(100), **other),
    ):
        expect_problem(answer, 404, "not_found")
    assert await offset_of(service, url) == 0


@on_one_database
async def test_without_the_right_nothing_of_the_body_is_read(service: Service) -> None:
    url = await create(service, 5_000)
    read = []

    async def body():
        read.append(1)
        yield jpeg(5_000)

    for key, status in (("Bearer hf_" + "x" * 43, 401), (None, 403)):
        authorization = key or (await service.other("media:read", tenant="acme"))["Authorization"]
        answer = await patch(service, url, 0, body(), Authorization=authorization)
        assert answer.status_code == status
    assert read == []
    assert await service.keys() == []


async def test_an_upload_that_is_ended_leaves_nothing(service: Service) -> None:
    url = await create(service, 5_000)
    await patch(service, url, 0, jpeg(3_000))
    assert len(await service.keys()) == 1
    assert (await service.client.delete(url, headers=TUS)).status_code == 204
    assert await service.keys() == []
    expect_problem(await service.client.head(url) and await service.client.get(url), 404, "not_found")
    assert await service.place.rows("SELECT * FROM media_upload_parts") == []
    url = await create(service, 100)
    asset = (await patch(service, url, 0, jpeg(100))).headers["holdfast-asset"]
    expect_problem(await service.client.delete(url, headers=TUS), 409, "conflict")
    await service.delete(asset)
    assert await service.keys() == [], "a deleted asset takes its half-finished upload along"
    assert await service.place.rows("SELECT id FROM media_uploads") == []


async def test_what_is_not_completed_in_time_goes_and_what_waits_for_its_job_stays(service: Service) -> None:
    late = await create(service, 5_000)
    await patch(service, late, 0, jpeg(3_000))
    whole = await create(service, 100)
    await patch(service, whole, 0, jpeg(100))
    young = await create(service, 5_000)
    expired = service.place.database.clock.now_us() - 3_600_000_000
    await service.place.rows(
        "UPDATE media_uploads SET expires_at = :at WHERE id <> :id", at=expired, id=young.rpartition("/")[2]
    )
    expect_problem(await service.client.get(late), 410, "upload_expired")
    expect_problem(await patch(service, late, 3_000, b"x"), 410, "upload_expired")
    async with service.app.state.resources.tx() as tx:
        await enqueue(tx, ExpireUploads(), tenant="system")
    ended = await service.run("media.expire_uploads")
    assert ended["state"] == "completed"
    left = {row["id"] for row in await service.place.rows("SELECT id FROM media_uploads")}
    assert left == {young.rpartition("/")[2], whole.rpartition("/")[2]}
    assert [key.split("/")[1] for key in await service.keys()] == [whole.rpartition("/")[2]]
    await service.run("media.assemble_upload")
    assert len(await service.place.rows("SELECT id FROM media_sources")) == 1


@on_one_database
async def test_a_tenant_has_only_so_many_uploads_under_way(place: Place, storage: str) -> None:
    async with serving(place, storage, uploads_max=3) as service:
        urls = [await create(service, 100) for _ in range(3)]
        headers = {**TUS, "Upload-Length": "100"}
        answer = await service.client.post(UPLOADS, headers=headers)
        assert expect_problem(answer, 429, "too_many_uploads")["limit"] == 3
        assert answer.headers["retry-after"]
        assert (await service.client.post(UPLOADS, headers={**headers, **await service.other()})).status_code == 201
        await patch(service, urls[0], 0, jpeg(100))
        assert (await service.client.post(UPLOADS, headers=headers)).status_code == 201


@on_one_database
async def test_there_are_only_so_many_parts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PARTS_MOST", 2)
    url = await create(service, 100)
    for at in range(2):
        assert (await patch(service, url, at, jpeg(100)[at : at + 1])).status_code == 204
    expect_problem(await patch(service, url, 2, b"x"), 413, "too_many_parts")
    assert len(await service.keys()) == 2


@on_one_database
@on_a_directory
async def test_a_page_of_a_named_origin_may_upload_and_no_other(place: Place, storage: str) -> None:
    async with serving(place, storage, browser_origins="https://app.example.com") as service:
        asks = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PATCH"}
        asks["Access-Control-Request-Headers"] = "authorization,tus-resumable,upload-offset,content-type"
        anonymous = {"Authorization": ""}
        answer = await service.client.options(f"{UPLOADS}/upl_x", headers={**asks, **anonymous})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        headers = {**TUS, "Upload-Length": "100", "Origin": "https://app.example.com"}
        made = await service.client.post(UPLOADS, headers=headers)
        assert "Location" in made.headers["access-control-expose-headers"]
        refused = await service.client.post(UPLOADS, headers={**headers, "Upload-Length": "x"})
        assert refused.headers["access-control-allow-origin"] == "https://app.example.com", "a page reads problems too"
        other = await service.client.options(UPLOADS, headers={**asks, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


@on_a_directory
async def test_what_is_refused_by_its_first_bytes_is_no_upload_under_way(place: Place, storage: str) -> None:
    async with serving(place, storage, uploads_max=1, image_size_limit_bytes=50_000) as service:
        client = service.client
        for content, length, status in ((b"hello" * 1_200, 6_000, 415), (jpeg(6_000), 60_000, 413), (jpeg(7), 6, 413)):
            answer = await client.post(UPLOADS, headers={**PART, "Upload-Length": str(length)}, content=content)
            assert answer.status_code == status, answer.text
            assert await place.rows("SELECT id FROM media_uploads") == []
        assert (await client.post(UPLOADS, headers={**TUS, "Upload-Length": "6000"})).status_code == 201


@on_one_database
@on_a_directory
async def test_first_bytes_that_come_too_late_do_not_end_what_another_has_begun(service: Service) -> None:
    body, halves = jpeg(20_000), asyncio.Event()

    async def late():
        yield b"#EXT"
        await halves.wait()
        yield b"M3U" * 5_000

    url = await create(service, len(body))
    loser = asyncio.create_task(patch(service, url, 0, late()))
    assert (await patch(service, url, 0, body[:10_000])).status_code == 204
    halves.set()
    assert (await loser).status_code in (409, 415)
    assert (await patch(service, url, 10_000, body[10_000:])).status_code == 204


@on_one_database
@on_a_directory
async def test_parts_leave_the_reserve_of_the_disk_alone(
    place: Place, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(place, storage, disk_reserve_bytes=100_000_000) as service:
        body = jpeg(100_000)
        url = await create(service, len(body))
        assert (await patch(service, url, 0, body[:50_000])).status_code == 204
        kept = await service.keys()
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000_000))
            for headers in ({}, checksum(body[50_000:])):
                expect_problem(await patch(service, url, 50_000, body[50_000:], **headers), 507, "storage_full")
            assert (await service.keys(), await offset_of(service, url)) == (kept, 50_000)
        assert (await patch(service, url, 50_000, body[50_000:])).status_code == 204


@on_a_directory
async def test_what_is_brought_later_takes_room_in_the_queue_of_its_bringing(place: Place, storage: str) -> None:
    """Whichever way and priority it has: a tenant at its limit cannot fill the queue for the others."""
    async with serving(place, storage, waiting_limit=4, tenant_waiting_limit=2) as service:
        for _ in range(2):
            url = await create(service, 1_000, **meta(priority="bulk"))
            assert (await patch(service, url, 0, jpeg(1_000))).status_code == 204
    async with serving(place, storage, waiting_limit=4, tenant_waiting_limit=2) as service:
        for priority in ("bulk", "interactive"):
            body = {"url": "https://example.com/a", "priority": priority}
            document = expect_problem(
                await service.client.post("/v1/media/from-url", json=body), 429, "media_queue_full"
            )
            assert (document["limit"], document["found"]) == ("tenant_waiting_limit", 2)
            headers = {**TUS, "Upload-Length": "1000", **meta(priority=priority)}
            expect_problem(await service.client.post(UPLOADS, headers=headers), 429, "media_queue_full")
        answer = await service.client.post(
            "/v1/media", content=jpeg(), headers=await service.other("media:write", tenant="victim")
        )
        assert answer.status_code == 202, answer.text
    await place.end([row["id"] for row in await service.jobs("media.assemble_upload")], "completed")
    async with serving(place, storage, waiting_limit=4, tenant_waiting_limit=2) as service:
        for _ in range(2):
            assert (await service.client.post("/v1/media?priority=bulk", content=jpeg())).status_code == 202
        body = {"url": "https://example.com/a", "priority": "bulk"}
        document = expect_problem(await service.client.post("/v1/media/from-url", json=body), 429, "media_queue_full")
        assert (document["limit"], "media-bulk" in document["detail"]) == ("tenant_waiting_limit", True)
