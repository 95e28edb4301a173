"""Preset sets over HTTP, on both databases: made, replaced by version, deleted, and never seen by another tenant."""

import asyncio
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from services.media import preset_sets
from services.media.app import create_app
from services.media.preset_sets import find
from services.media.presets import PRESET_SETS, PresetSet
from services.media.settings import MediaSettings
from shared.kernel.errors import BadInput
from tests.integration.http.places import Place, bearer, client_of, expect_problem, on_one_database, place, pointers

__all__ = ["place"]
SETS = "/v1/media/presets"
OWN = {"image": [{"name": "a", "width": 9, "fit": "cover", "height": 8, "focus": [0.25, 1]}], "damaged": "show"}


@pytest.fixture
async def client(place: Place, tmp_path: Path):
    app = create_app(place.settings, MediaSettings(storage_url=str(tmp_path / "media")))
    async with client_of(app, await place.key()) as client:
        yield client


async def test_a_set_is_made_read_replaced_and_deleted(place: Place, client: httpx.AsyncClient) -> None:
    made = await client.put(f"{SETS}/shop", json=OWN)
    assert (made.status_code, made.headers["location"]) == (201, f"{SETS}/shop")
    document = made.json()
    assert (document["name"], document["built_in"], document["version"], document["damaged"]) == (
        "shop", False, 1, "show",
    )  # fmt: skip
    assert document["image"][0] == {
        "name": "a", "width": 9, "height": 8, "format": "webp", "quality": None, "effort": None, "fit": "cover",
        "focus": [0.25, 1], "background": None, "enlarge": False, "lossless": False, "animated": True,
    }  # fmt: skip
    shown = await client.get(f"{SETS}/shop")
    assert (shown.json(), shown.headers["etag"]) == (document, made.headers["etag"])

    again = await client.put(f"{SETS}/shop", json=OWN)
    assert (again.status_code, again.headers["etag"]) == (200, made.headers["etag"]), "nothing was changed"
    other = await client.put(f"{SETS}/shop", json={"image": [{"name": "b", "height": 7}]})
    assert (other.status_code, other.json()["version"], other.json()["damaged"]) == (200, 2, "refuse")
    assert other.headers["etag"] != made.headers["etag"]
    found = await find(place.database, "acme", "shop")
    assert [(preset.name, preset.height) for preset in found.image] == [("b", 7)]

    assert (await client.delete(f"{SETS}/shop")).status_code == 204
    expect_problem(await client.get(f"{SETS}/shop"), 404, "not_found")
    expect_problem(await client.delete(f"{SETS}/shop"), 404, "not_found")
    with pytest.raises(BadInput, match="'shop'; known: default"):
        await find(place.database, "acme", "shop")


async def test_a_change_holds_for_the_version_that_was_seen(client: httpx.AsyncClient) -> None:
    first = (await client.put(f"{SETS}/shop", json=OWN, headers={"If-None-Match": "*"})).headers["etag"]
    expect_problem(await client.put(f"{SETS}/shop", json=OWN, headers={"If-None-Match": "*"}), 412, "version_changed")
    changed = {"image": [{"name": "c", "width": 5}]}
    second = await client.put(f"{SETS}/shop", json=changed, headers={"If-Match": first})
    assert second.status_code == 200
    problem = expect_problem(
        await client.put(f"{SETS}/shop", json=OWN, headers={"If-Match": first}), 412, "version_changed"
    )
    assert problem["etag"] == second.headers["etag"]
    expect_problem(await client.delete(f"{SETS}/shop", headers={"If-Match": first}), 412, "version_changed")
    assert (await client.get(f"{SETS}/shop")).json()["image"][0]["name"] == "c"
    gone = await client.delete(f"{SETS}/shop", headers={"If-Match": second.headers["etag"]})
    assert gone.status_code == 204
    expect_problem(await client.put(f"{SETS}/shop", json=OWN, headers={"If-Match": first}), 404, "not_found")
    await client.put(f"{SETS}/shop", json=OWN)
    stale = await client.put(f"{SETS}/shop", json=changed, headers={"If-Match": first})
    expect_problem(stale, 412, "version_changed")  # a set that was made again is another


async def test_two_who_make_one_at_once_make_one(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.put(f"{SETS}/shop", json=OWN) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.headers["etag"] for answer in answers}) == 1


async def test_sets_are_listed_by_name_with_the_built_in_ones(client: httpx.AsyncClient) -> None:
    for name in ("zoo", "a1", "Z"):
        await client.put(f"{SETS}/{name}", json=OWN)
    names, cursor = [], None
    while True:
        page = (await client.get(SETS, params={"limit": 1, **({"cursor": cursor} if cursor else {})})).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["Z", "a1", "default", "zoo"]
    assert [item["name"] for item in (await client.get(SETS)).json()["items"]] == names


async def test_a_tenant_sees_and_uses_only_its_own(place: Place, client: httpx.AsyncClient) -> None:
    await client.put(f"{SETS}/shop", json=OWN)
    other = bearer(await place.key(tenant="other"))
    expect_problem(await client.get(f"{SETS}/shop", headers=other), 404, "not_found")
    expect_problem(await client.delete(f"{SETS}/shop", headers=other), 404, "not_found")
    assert (await client.put(f"{SETS}/shop", json={}, headers=other)).status_code == 201
    assert (await client.get(f"{SETS}/shop")).json()["image"] != []
    assert (await find(place.database, "other", "shop")).image == ()
    reader = bearer(await place.key("media:read"))
    expect_problem(await client.put(f"{SETS}/x", json={}, headers=reader), 403, "not_allowed")
    assert (await client.get(f"{SETS}/shop", headers=reader)).status_code == 200


@on_one_database
async def test_built_in_sets_are_shown_and_cannot_be_changed(client: httpx.AsyncClient) -> None:
    shown = await client.get(f"{SETS}/default")
    assert shown.json()["built_in"] is True
    assert [preset["name"] for preset in shown.json()["image"]] == ["w320", "w1280"]
    assert shown.headers["etag"]
    expect_problem(await client.put(f"{SETS}/default", json=OWN), 409, "preset_set_built_in")
    expect_problem(await client.delete(f"{SETS}/default"), 409, "preset_set_built_in")
    assert set(PRESET_SETS) == {"default"}


@on_one_database
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x"}, "/name"),
        ({"images": []}, "/images"),
        ({"image": {}}, "/image"),
        ({"image": [{"name": "a"}]}, "/image/0/width"),
        ({"image": [{"name": "a", "width": "9"}]}, "/image/0/width"),
        ({"image": [{"name": "a", "width": 9}, {"name": "a", "width": 8}]}, "/image"),
        ({"image": [{"name": "a", "width": 9, "format": "tiff"}]}, "/image/0/format"),
        ({"video": [{"name": "a"}]}, "/video/0/make"),
        ({"damaged": "maybe"}, "/damaged"),
    ],
)
async def test_what_is_no_set_is_refused_with_a_pointer(client: httpx.AsyncClient, body, pointer: str) -> None:
    document = expect_problem(await client.put(f"{SETS}/shop", json=body), 422, "invalid")
    assert pointers(document) == [pointer]
    expect_problem(await client.get(f"{SETS}/shop"), 404, "not_found")


@on_one_database
async def test_names_and_bodies_are_as_strict_as_elsewhere(client: httpx.AsyncClient) -> None:
    for name in ("a b", "%C3%A4", "x" * 65, "."):
        assert (await client.put(f"{SETS}/{name}", json=OWN)).status_code in (404, 405), name
    expect_problem(await client.put(f"{SETS}/shop", content=b"{}", headers={"Content-Type": "text/plain"}), 415,
                   "wrong_content_type")  # fmt: skip
    for content in (b"[]", b"{", b'{"damaged": "show", "damaged": "show"}', b'{"image": [{"width": NaN}]}'):
        answer = await client.put(f"{SETS}/shop", content=content, headers={"Content-Type": "application/json"})
        expect_problem(answer, 422, "invalid")


async def test_a_tenant_has_a_bounded_number_of_sets(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preset_sets, "SETS_MAX", 2)
    for name in ("a", "b", "b"):
        assert (await client.put(f"{SETS}/{name}", json=OWN)).status_code in (200, 201)
    problem = expect_problem(await client.put(f"{SETS}/c", json=OWN), 409, "too_many_preset_sets")
    assert problem["limit"] == 2
    await client.delete(f"{SETS}/a")
    assert (await client.put(f"{SETS}/c", json=OWN)).status_code == 201


@on_one_database
async def test_an_upload_may_name_a_set_of_its_tenant(place: Place, client: httpx.AsyncClient) -> None:
    await client.put(f"{SETS}/shop", json=OWN)
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    accepted = await client.post("/v1/media", params={"presets": "shop"}, content=png)
    assert accepted.status_code == 202, accepted.text
    await client.delete(f"{SETS}/shop")
    (row,) = await place.rows("SELECT preset_set, presets FROM media_assets")
    assert row["preset_set"] == "shop"
    assert '"damaged":"show"' in row["presets"]
    assert '"focus":[0.25,1]' in row["presets"]


@on_one_database
async def test_an_upload_may_say_where_its_cuts_look(place: Place, client: httpx.AsyncClient) -> None:
    await client.put(f"{SETS}/shop", json=OWN)
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    query = {"presets": "shop", "focus": "0.75,0.5"}
    assert (await client.post("/v1/media", params=query, content=png)).status_code == 202
    (row,) = await place.rows("SELECT presets FROM media_assets")
    assert '"focus":[0.75,0.5]' in row["presets"]
    wrong = await client.post("/v1/media", params={**query, "focus": "2,2"}, content=png)
    assert pointers(expect_problem(wrong, 422, "invalid")) == ["/focus"]


@on_one_database
async def test_every_way_in_takes_where_cuts_look(place: Place, client: httpx.AsyncClient) -> None:
    await client.put(f"{SETS}/shop", json=OWN)
    for focus, status in (("0.75,0.5", None), ("2,2", 422)):
        encoded = b64encode(focus.encode()).decode()
        meta = f"presets {b64encode(b'shop').decode()},focus {encoded}"
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": meta}
        by_url = {"url": "https://example.com/a.png", "presets": "shop", "focus": focus}
        for answer, at, kept in (
            (await client.post("/v1/media/from-url", json=by_url), "/focus", "presets FROM media_assets"),
            (
                await client.post("/v1/media/uploads", headers=headers),
                "/Upload-Metadata",
                "options AS presets FROM media_uploads",
            ),
        ):
            if status is None:
                assert answer.status_code in (201, 202), answer.text
                (row,) = await place.rows(f"SELECT {kept}")
                assert "[0.75,0.5]" in row["presets"]
            else:
                assert pointers(expect_problem(answer, status, "invalid")) == [at]


@on_one_database
async def test_the_openapi_says_what_a_set_is_made_of(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    body = paths[f"{SETS}/{{name}}"]["put"]["requestBody"]["content"]["application/json"]
    preset = body["schema"]["properties"]["image"]["items"]["properties"]
    assert preset["format"]["enum"] == ["webp", "avif", "jpeg", "png"]
    assert preset["width"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 8192}
    assert body["schema"]["additionalProperties"] is False
    assert (await client.put(f"{SETS}/example", json=body["example"])).status_code == 201


@on_one_database
async def test_what_is_stored_is_neither_read_strictly_again_to_be_shown_nor_to_be_used(
    place: Place, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes milliseconds of the event loop for each set: half a second of a page of them."""
    made = (await client.put(f"{SETS}/shop", json=OWN)).json()

    def parse(_: object) -> PresetSet:
        raise AssertionError("read again")

    monkeypatch.setattr(PresetSet, "parse", parse)
    page = await client.get(SETS)
    assert page.headers["content-type"] == "application/json"
    assert (page.json()["items"][1], (await client.get(f"{SETS}/shop")).json()) == (made, made)
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    assert (await client.post("/v1/media", params={"presets": "shop"}, content=png)).status_code == 202
    monkeypatch.undo()
    (row,) = await place.rows("SELECT presets FROM media_assets")
    assert row["presets"] == preset_sets.body_of(await find(place.database, "acme", "shop"))


async def test_what_no_set_can_be_called_is_unknown_wherever_it_stands(client: httpx.AsyncClient) -> None:
    """PostgreSQL takes no NUL in a text, and would be asked about one."""
    png, names = b"\x89PNG\r\n\x1a\n" + bytes(40), ("a\0b", "a b", "\u00e9", "")
    for name in names:
        asked = await client.post("/v1/media", params={"presets": name}, content=png)
        said = {"url": "https://example.com/a.png", "presets": name}
        meta = f"presets {b64encode(name.encode()).decode()}"
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": meta}
        for answer, pointer in (
            (asked, "/presets"),
            (await client.post("/v1/media/from-url", json=said), "/presets"),
            (await client.post("/v1/media/uploads", headers=headers), "/Upload-Metadata"),
        ):
            assert pointers(expect_problem(answer, 422, "invalid")) == [pointer], name
    assert (await client.post("/v1/media", params={"presets": "default"}, content=png)).status_code == 202
