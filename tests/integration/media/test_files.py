"""Files out: whole, in ranges, not at all when they are known, and by links that work for a while."""

import json
from typing import Any

import httpx
import pytest

from services.media.blobs import Blobs
from shared.kernel.ids import new_id
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
BYTES = bytes(range(256)) * 4


async def made(service: Service) -> str:
    """An asset with one rendition, w320, which holds BYTES."""
    asset = str((await service.upload(jpeg(500, new_id("x")))).json()["id"])
    key = f"assets/{asset}/renditions/1/w320.webp"

    async def stream():
        yield BYTES

    size, sha256 = await service.blobs.put_stream(key, stream(), limit_bytes=len(BYTES))
    item = {"name": "w320", "key": key, "format": "webp", "width": 1, "height": 1, "size_bytes": size, "sha256": sha256}
    await service.place.rows(
        "UPDATE media_assets SET renditions = :made WHERE id = :id", made=json.dumps([item]), id=asset
    )
    return asset


async def test_a_range_is_that_part_of_the_bytes(service: Service) -> None:
    path = f"/v1/media/{await made(service)}/renditions/w320"
    whole = await service.client.get(path)
    assert (whole.status_code, whole.content, whole.headers["accept-ranges"]) == (200, BYTES, "bytes")
    assert whole.headers["content-type"] == "image/webp"
    assert whole.headers["x-content-type-options"] == "nosniff"
    for asked, start, end in (
        ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=1000-", 1000, 1024), ("bytes=-24", 1000, 1024),
        ("bytes=1000-9999", 1000, 1024), ("bytes=-9999", 0, 1024), ("BYTES = 5-5", 5, 6),
    ):  # fmt: skip
        answer = await service.client.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, BYTES[start:end]), asked
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
        assert answer.headers["content-length"] == str(end - start)
    for asked in ("bytes=1024-", "bytes=9999-10000", "bytes=-0"):
        answer = await service.client.get(path, headers={"Range": asked})
        expect_problem(answer, 416, "range_not_satisfiable")
        assert answer.headers["content-range"] == "bytes */1024"
    for asked in ("bytes=0-1,4-5", "bytes=9-5", "bytes=x", "lines=1-2", "bytes=", "bytes=--5"):
        answer = await service.client.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, BYTES), asked


@on_one_database
async def test_conditions_are_weighed_in_their_order(service: Service) -> None:
    path = f"/v1/media/{await made(service)}/renditions/w320"
    etag = (await service.client.get(path)).headers["etag"]

    async def asked(**headers: str) -> httpx.Response:
        return await service.client.get(path, headers={name.replace("_", "-"): one for name, one in headers.items()})

    assert (await asked(If_None_Match=etag)).status_code == 304
    assert (await asked(If_None_Match=f'"x", W/{etag}')).status_code == 304
    assert (await asked(If_Match='"x"', If_None_Match=etag)).status_code == 412
    assert (await asked(If_Match=f"W/{etag}")).status_code == 412, "weak tags never match strongly"
    assert (await asked(If_Match=etag)).status_code == 200
    assert (await asked(If_Range=etag, Range="bytes=0-1")).status_code == 206
    for other in ('"x"', f"W/{etag}", "Mon, 23 Nov 2026 00:00:00 GMT", "*"):
        assert (await asked(If_Range=other, Range="bytes=0-1")).content == BYTES, other
    assert (await asked(If_None_Match=etag, Range="bytes=9999-")).status_code == 304


@on_one_database
async def test_a_head_opens_no_object(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/v1/media/{await made(service)}/renditions/w320"

    async def never(*_: Any, **__: Any) -> None:
        raise AssertionError("an object was opened")

    monkeypatch.setattr(Blobs, "open", never)
    head = await service.client.head(path)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "1024", b"")
    for asked in ("bytes=0-9", "bytes=9999-"):
        head = await service.client.head(path, headers={"Range": asked})
        assert (head.status_code, head.headers["content-length"]) == (200, "1024"), "Range is defined for GET alone"
        assert "content-range" not in head.headers


async def test_a_source_is_given_back_to_be_saved_and_never_to_be_shown(service: Service) -> None:
    body = jpeg(3_000)
    asset = (await service.upload(body)).json()["id"]
    answer = await service.client.get(f"/v1/media/{asset}/source")
    assert answer.content == body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    expect_problem(
        await service.client.get(f"/v1/media/{asset}/source", headers=await service.other()), 404, "not_found"
    )


async def test_a_link_opens_one_file_without_a_key_until_its_time_is_over(service: Service) -> None:
    asset, other = await made(service), await made(service)
    links = (await service.client.get(f"/v1/media/{asset}/links", params={"for_s": 600})).json()
    anonymous = {"Authorization": ""}
    for path, content in ((links["renditions"]["w320"], BYTES), (links["source"], None)):
        answer = await service.client.get(path, headers={**anonymous, "Range": "bytes=0-3"})
        assert answer.status_code == 206
        assert answer.headers["cache-control"].startswith("public, max-age=")
        assert 590 <= int(answer.headers["cache-control"].rpartition("=")[2]) <= 600
        if content is not None:
            assert (await service.client.get(path, headers=anonymous)).content == content
    path = links["renditions"]["w320"]
    url = httpx.URL(path)
    signature = url.params["signature"]
    for wrong in (
        path.replace(asset, other), path.replace("renditions/w320", "source"), path.partition("?")[0],
        str(url.copy_set_param("expires", int(url.params["expires"]) + 1)), str(url.copy_remove_param("signature")),
        str(url.copy_set_param("signature", signature[:-1] + ("A" if signature[-1] != "A" else "B"))),
        str(url.copy_set_param("signature", "ü")), str(url.copy_set_param("expires", "9" * 12)),
        str(url.copy_set_param("expires", "²")),
    ):  # fmt: skip
        expect_problem(await service.client.get(wrong, headers=anonymous), 403, "link_refused")
    await service.delete(asset)
    expect_problem(await service.client.get(path, headers=anonymous), 404, "not_found")


@on_one_database
@on_a_directory
async def test_a_link_whose_time_is_over_says_so(service: Service) -> None:
    asset = await made(service)
    path = f"/v1/media/files/{asset}/renditions/w320"
    old = service.app.state.links.sign(path, 1_700_000_000)
    expect_problem(await service.client.get(old, headers={"Authorization": ""}), 410, "link_expired")
    for for_s in (0, -1, 8 * 86_400):
        answer = await service.client.get(f"/v1/media/{asset}/links", params={"for_s": for_s})
        expect_problem(answer, 422, "invalid")
    answer = await service.client.get(f"/v1/media/{asset}/links", headers=await service.other())
    expect_problem(answer, 404, "not_found")


@on_one_database
@on_a_directory
async def test_links_of_an_older_key_work_until_it_is_taken_away(place: Place, storage: str) -> None:
    new, old = "bmV3MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODk", "b2xkMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODk"
    async with serving(place, storage, link_key=old) as service:
        asset = await made(service)
        path = (await service.client.get(f"/v1/media/{asset}/links")).json()["renditions"]["w320"]
    for keys, status in ((f"{new},{old}", 200), (new, 403)):
        async with serving(place, storage, link_key=keys) as service:
            assert (await service.client.get(path, headers={"Authorization": ""})).status_code == status
    async with serving(place, storage, link_key="") as service:
        expect_problem(await service.client.get(f"/v1/media/{asset}/links"), 409, "links_off")


@on_one_database
@on_a_directory
async def test_the_documents_say_that_links_need_no_key(service: Service) -> None:
    document = service.app.openapi()
    assert document["paths"]["/v1/media/files/{asset_id}/source"]["get"]["security"] == []
    assert "security" not in document["paths"]["/v1/media/{asset_id}/source"]["get"]
    for path in ("/v1/media/files/x", "/v1/media/files/ast_01m81s9dmte5srzwdfgsk0cb4q/renditions/w320"):
        answer = await service.client.post(path, headers={"Authorization": ""})
        assert answer.status_code in (404, 405), "nothing but looking is open there"
