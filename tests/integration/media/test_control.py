"""What is decided about assets over HTTP: which there are, cancelled, processed again; and how many may wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from services.media import store_list
from services.media.accepting import StoredSource, accept_asset
from services.media.app import create_app
from services.media.options import Options
from services.media.settings import MediaSettings
from shared.contracts.commands.media import ProcessInBulk
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from shared.ledger.store_accept import accept, new_job
from shared.testing.dispatching import dispatch_due
from tests.integration.http.places import Place, client_of, expect_problem, on_one_database, place, pointers
from tests.integration.media.pictures import PHOTO

__all__ = ["place"]
RENDITION = {"name": "w320", "kind": "image", "format": "webp", "width": 320, "height": 213, "size_bytes": 4}


@asynccontextmanager
async def served(place: Place, tmp_path: Path, *, tenant: str = "acme", **settings: Any) -> AsyncIterator[Any]:
    app = create_app(place.settings, MediaSettings(storage_url=str(tmp_path / "media"), **settings))
    async with client_of(app, await place.key(tenant=tenant)) as client:
        yield client


@pytest.fixture
async def client(place: Place, tmp_path: Path):
    async with served(place, tmp_path) as client:
        yield client


async def upload(client: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    answer = await client.post("/v1/media", content=PHOTO.read_bytes(), params=params)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def ended(place: Place, asset: dict[str, Any], how: str = "completed") -> None:
    """As its job would leave it."""
    await place.end([asset["job"]], how)
    made = orjson.dumps([{**RENDITION, "key": "r", "sha256": "ab"}]).decode() if how == "completed" else None
    error = orjson.dumps({"code": "corrupt", "message": "it is broken"}).decode() if how == "dead" else None
    await place.rows(
        "UPDATE media_assets SET renditions = :made, error = :error WHERE id = :id",
        made=made, error=error, id=asset["id"],
    )  # fmt: skip


async def shown(client: httpx.AsyncClient, asset: dict[str, Any]) -> dict[str, Any]:
    return (await client.get(f"/v1/media/{asset['id']}")).json()


async def test_what_waits_is_cancelled_at_once_and_only_once(place: Place, client: httpx.AsyncClient) -> None:
    asset = await upload(client)
    headers = {"Idempotency-Key": "once"}
    first = await client.post(f"/v1/media/{asset['id']}/cancel", headers=headers)
    assert first.status_code == 202
    assert first.json() == {"id": asset["id"], "job": asset["job"], "requested": False, "state": "cancelled"}
    assert (await client.post(f"/v1/media/{asset['id']}/cancel", headers=headers)).json() == first.json()
    assert (await shown(client, asset))["state"] == "cancelled"
    document = expect_problem(await client.post(f"/v1/media/{asset['id']}/cancel"), 409, "conflict")
    assert document["state"] == "cancelled"
    assert await dispatch_due(place.database, "media", place.database.clock.now_us() + 1) == []


async def test_what_runs_is_asked_to_end(place: Place, client: httpx.AsyncClient) -> None:
    asset = await upload(client)
    await place.end([asset["job"]], "running")
    answer = (await client.post(f"/v1/media/{asset['id']}/cancel")).json()
    assert (answer["requested"], answer["state"]) == (True, "processing")
    (job,) = await place.rows("SELECT state, cancel_requested_at FROM job WHERE id = :id", id=asset["job"])
    assert job["state"] == "running"
    assert job["cancel_requested_at"]


async def test_what_another_tenant_decides_is_about_nothing(
    place: Place, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    asset = await upload(client)
    async with served(place, tmp_path, tenant="other") as other:
        for verb in ("cancel", "reprocess"):
            expect_problem(await other.post(f"/v1/media/{asset['id']}/{verb}"), 404, "not_found")
        assert (await other.get("/v1/media")).json() == {"items": [], "next_cursor": None}
    assert (await shown(client, asset))["state"] == "accepted"


async def test_old_renditions_are_shown_until_new_ones_are_there(place: Place, client: httpx.AsyncClient) -> None:
    asset = await upload(client)
    await ended(place, asset)
    presets = {"image": [{"name": "w64", "width": 64}]}
    again = await client.post(f"/v1/media/{asset['id']}/reprocess", json={"presets": presets, "priority": "bulk"})
    assert again.status_code == 202, again.text
    made = again.json()
    assert made["job"] != asset["job"]
    document = await shown(client, asset)
    assert (document["state"], document["job"], document["priority"]) == ("accepted", made["job"], "bulk")
    assert [item["name"] for item in document["renditions"]] == ["w320"]
    (row,) = await place.rows("SELECT presets FROM media_assets WHERE id = :id", id=asset["id"])
    assert [preset["name"] for preset in orjson.loads(row["presets"])["image"]] == ["w64"]
    document = expect_problem(await client.post(f"/v1/media/{asset['id']}/reprocess"), 409, "conflict")
    assert document["state"] == "accepted"
    (job,) = await place.rows("SELECT queue, lane FROM job WHERE id = :id", id=made["job"])
    assert (job["queue"], job["lane"]) == ("media-bulk", "image")
    events = await place.rows("SELECT args FROM job WHERE task = 'webhooks.publish_event' ORDER BY id")
    told = [orjson.loads(event["args"]) for event in events]
    assert [event["type"] for event in told] == ["media.asset.accepted.v1"] * 2
    assert [event["data"]["job_id"] for event in told] == [asset["job"], made["job"]]


@on_one_database
async def test_a_rendition_says_how_many_frames_it_has(place: Place, client: httpx.AsyncClient) -> None:
    asset = await upload(client)
    await place.end([asset["job"]], "completed")
    made = orjson.dumps([{**RENDITION, "key": "r", "frames": 7}]).decode()
    await place.rows("UPDATE media_assets SET renditions = :made WHERE id = :id", made=made, id=asset["id"])
    (rendition,) = (await shown(client, asset))["renditions"]
    assert rendition["frames"] == 7


@on_one_database
async def test_a_set_is_named_as_in_an_upload_and_cuts_may_look_elsewhere(
    place: Place, client: httpx.AsyncClient
) -> None:
    cut = {"image": [{"name": "cut", "width": 9, "height": 9, "fit": "cover"}]}
    assert (await client.put("/v1/media/presets/shop", json=cut)).status_code == 201
    asset = await upload(client)

    async def again(body: dict[str, Any]) -> tuple[str, Any]:
        await ended(place, (await shown(client, asset)) | {"id": asset["id"]})
        answer = await client.post(f"/v1/media/{asset['id']}/reprocess", json=body)
        assert answer.status_code == 202, answer.text
        (row,) = await place.rows("SELECT preset_set, presets FROM media_assets WHERE id = :id", id=asset["id"])
        assert row["preset_set"] == answer.json()["preset_set"]
        return row["preset_set"], [preset["focus"] for preset in orjson.loads(row["presets"])["image"]]

    assert await again({"presets": "shop"}) == ("shop", ["centre"])
    assert await again({"focus": "0.1,1"}) == ("shop", [[0.1, 1]])
    assert await again({"presets": cut, "focus": "0.5,0.25"}) == ("custom", [[0.5, 0.25]])
    assert await again({"focus": "0.3,0.25"}) == ("custom", [[0.3, 0.25]])
    assert await again({}) == ("custom", [[0.3, 0.25]]), "a set for that once is kept as it was"


async def test_a_reprocessing_that_fails_leaves_what_was_there(place: Place, client: httpx.AsyncClient) -> None:
    asset = await upload(client)
    await ended(place, asset)
    again = (await client.post(f"/v1/media/{asset['id']}/reprocess")).json()
    await place.end([again["job"]], "dead")
    document = await shown(client, asset)
    assert document["state"] == "failed"
    assert document["error"] == {"code": "Boom", "message": "it broke"}
    assert [item["name"] for item in document["renditions"]] == ["w320"]


@on_one_database
@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"presets": "nope"}, "/presets"),
        ({"presets": 7}, "/presets"),
        ({"presets": ""}, "/presets"),
        ({"presets": "x" * 65}, "/presets"),
        ({"preset_set": "default"}, "/preset_set"),
        ({"focus": "middle"}, "/focus"),
        ({"focus": "0.5,0.5", "presets": "nope"}, "/presets"),
        ({"presets": {"image": [{"name": "w", "width": 0}]}}, "/presets/image/0/width"),
        ({"presets": {"imgae": []}}, "/presets/imgae"),
        ({"priority": "urgent"}, "/priority"),
        ({"sets": 1}, "/sets"),
    ],
)
async def test_what_cannot_be_made_again_is_told_where(
    place: Place, client: httpx.AsyncClient, body: dict[str, Any], at: str
) -> None:
    asset = await upload(client)
    await ended(place, asset)
    document = expect_problem(await client.post(f"/v1/media/{asset['id']}/reprocess", json=body), 422, "invalid")
    assert pointers(document) == [at]


@on_one_database
async def test_a_preset_set_that_is_not_there_is_told_where_it_was_named(client: httpx.AsyncClient) -> None:
    by_url = await client.post("/v1/media/from-url", json={"url": "https://example.com/a.jpg", "presets": "nope"})
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "presets bm9wZQ=="}
    in_parts = await client.post("/v1/media/uploads", headers=headers)
    for answer, place_of, at in ((by_url, "body", "/presets"), (in_parts, "header", "/Upload-Metadata")):
        (error,) = expect_problem(answer, 422, "invalid")["errors"]
        assert (error["in"], error["pointer"], error["found"]) == (place_of, at, "nope")


async def test_what_never_came_is_not_made_again_and_says_how_it_ended(client: httpx.AsyncClient) -> None:
    asset = (await client.post("/v1/media/from-url", json={"url": "https://example.com/a.jpg"})).json()
    for state in ("fetching", "cancelled"):
        document = expect_problem(await client.post(f"/v1/media/{asset['id']}/reprocess"), 409, "conflict")
        assert (document["state"], document["job"]) == (state, asset["job"])
        await client.post(f"/v1/media/{asset['id']}/cancel")


async def test_assets_are_listed_by_what_has_become_of_them(place: Place, client: httpx.AsyncClient) -> None:
    made = [await upload(client) for _ in range(6)]
    states = ["accepted", "processing", "processed", "failed", "cancelled", "processed"]
    await client.post(f"/v1/media/{made[4]['id']}/cancel")
    await place.end([made[1]["job"]], "running")
    for number, how in ((2, "completed"), (3, "dead"), (5, "completed")):
        await ended(place, made[number], how)

    async def ids(**params: Any) -> list[str]:
        return [item["id"] for item in (await client.get("/v1/media", params=params)).json()["items"]]

    newest_first = [asset["id"] for asset in made][::-1]
    page = (await client.get("/v1/media")).json()
    assert [item["id"] for item in page["items"]] == newest_first
    assert [item["state"] for item in page["items"]] == states[::-1]
    for state in set(states):
        expected = [asset["id"] for asset, found in zip(made, states, strict=True) if found == state][::-1]
        assert await ids(state=state) == expected, state
    assert await ids(kind="image") == newest_first
    assert await ids(kind="video") == []
    await place.rows("UPDATE media_assets SET kind = 'video' WHERE id = :id", id=made[0]["id"])
    assert await ids(kind="video", state="accepted") == [made[0]["id"]]
    # Retention takes ended jobs; the asset alone still says how it ended.
    for number in (2, 4):
        await place.rows("DELETE FROM job WHERE id = :id", id=made[number]["job"])
    assert await ids(state="processed") == [made[5]["id"], made[2]["id"]]
    assert await ids(state="cancelled") == [made[4]["id"]]
    assert (await shown(client, made[4]))["state"] == "cancelled"
    expect_problem(await client.get("/v1/media", params={"state": "gone"}), 422, "invalid")


async def test_pages_end_where_so_many_were_looked_at(
    place: Place, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [await upload(client) for _ in range(7)]
    await ended(place, made[0], "dead")
    monkeypatch.setattr(store_list, "LOOK_MOST", 3)
    found, cursor, pages = [], None, 0
    while True:
        params = {"state": "failed", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/media", params=params)).json()
        found += [item["id"] for item in page["items"]]
        pages, cursor = pages + 1, page["next_cursor"]
        if cursor is None:
            break
    assert found == [made[0]["id"]]
    assert pages == 3
    monkeypatch.undo()
    seen: list[str] = []
    params = {"limit": 3}
    while True:
        page = (await client.get("/v1/media", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        params = {"limit": 3, "cursor": page["next_cursor"]}
    assert seen == [asset["id"] for asset in made][::-1]


@on_one_database
async def test_assets_are_listed_by_when_they_came(place: Place, client: httpx.AsyncClient) -> None:
    asset = await upload(client)
    day = {"created_from": "2020-01-01T00:00:00Z", "created_until": "2020-01-02T00:00:00+01:00"}
    assert (await client.get("/v1/media", params=day)).json()["items"] == []
    found = (await client.get("/v1/media", params={"created_from": "2020-01-01T00:00:00Z"})).json()["items"]
    assert [item["id"] for item in found] == [asset["id"]]
    assert (await client.get("/v1/media", params={"created_until": "2020-01-01T00:00:00Z"})).json()["items"] == []
    document = expect_problem(await client.get("/v1/media", params={"created_from": "yesterday"}), 422, "invalid")
    assert pointers(document) == ["/created_from"]


async def test_a_full_queue_refuses_and_says_which_limit(place: Place, tmp_path: Path) -> None:
    settings = {"waiting_limit": 4, "tenant_waiting_limit": 2}
    async with served(place, tmp_path, **settings) as client:
        for _ in range(2):
            await upload(client)
        answer = await client.post("/v1/media", content=PHOTO.read_bytes())
        document = expect_problem(answer, 429, "media_queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert (document["limit"], document["limit_value"], document["found"]) == ("tenant_waiting_limit", 2, 2)
    await place.rows("UPDATE job SET priority = 9 WHERE queue = 'media' RETURNING id")  # as its owner may ask for
    async with served(place, tmp_path, **settings) as client:
        answer = await client.post("/v1/media", content=PHOTO.read_bytes())
        assert expect_problem(answer, 429, "media_queue_full")["limit"] == "tenant_waiting_limit"
        await upload(client, priority="bulk")  # stands in another queue
    assert len(await place.rows("SELECT id FROM media_assets")) == 3
    assert len([path for path in (tmp_path / "media").rglob("source*") if path.is_file()]) <= 3
    async with served(place, tmp_path, tenant="other", **settings) as other:
        for _ in range(2):
            await upload(other)
    async with served(place, tmp_path, tenant="third", **settings) as third:
        answer = await third.post("/v1/media", content=PHOTO.read_bytes())
        document = expect_problem(answer, 429, "media_queue_full")
        assert (document["limit"], document["limit_value"], document["found"]) == ("waiting_limit", 4, 4)
        ids = [row["job_id"] for row in await place.rows("SELECT job_id FROM media_assets WHERE tenant = 'acme'")]
    await place.end(ids, "completed")
    async with served(place, tmp_path, tenant="third", **settings) as third:
        await upload(third)


async def test_what_waits_is_measured_by_kind_and_priority(place: Place, client: httpx.AsyncClient) -> None:
    for priority in ("bulk", "bulk", "interactive"):
        await upload(client, priority=priority)
    text = (await client.get("/metrics")).text
    for kind, priority, count in (("image", "bulk", 2), ("image", "interactive", 1), ("video", "bulk", 0)):
        assert f'holdfast_media_waiting{{kind="{kind}",priority="{priority}"}} {count}.0' in text


async def test_a_thousand_of_one_tenant_delay_nobody_else(place: Place, client: httpx.AsyncClient) -> None:
    """Not what somebody waits for, which has a queue of its own; nor another's batch, as tenants are served in turn."""
    source = StoredSource("k", 1, "ab")
    now_us = place.database.clock.now_us()
    command = ProcessInBulk(asset_id=new_id("ast"))
    batch_of_jobs = [new_job(command, tenant="greedy", now_us=now_us, lane="image", priority=6) for _ in range(1_000)]
    async with place.database.transaction() as connection:
        await accept(connection, batch_of_jobs)
    async with open_tx(place.database) as tx:
        _, waited_for = await accept_asset(tx, "acme", source, "image", Options("default", "{}", "interactive"))
        _, batch = await accept_asset(tx, "acme", source, "image", Options("default", "{}", "bulk"))
        _, film = await accept_asset(tx, "acme", source, "video", Options("default", "{}", "interactive"))
    now_us = place.database.clock.now_us() + 1
    assert await dispatch_due(place.database, "media", now_us, room=1) == [waited_for]
    first = await dispatch_due(place.database, "media-bulk", now_us, room=3)
    assert first[0] == film
    assert batch in first[1:], "a tenant's second came before another's first"
