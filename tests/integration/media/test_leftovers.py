"""Files that no row makes count go, and no other ever does."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import httpx
import obstore
import orjson
import pytest
from obstore.store import MemoryStore

from services.media.app import create_app
from services.media.blobs import Blobs
from services.media.leftovers import REST_S, asset_counts, sweep_files
from services.media.settings import MediaSettings
from services.media.sources import _LOCK, release_unnamed
from services.media.store import insert_asset
from services.media.tasks import TASKS
from services.media.upkeep import delete_files
from shared.contracts.commands.media import DeleteFiles
from shared.db.tx import open_tx
from shared.kernel.ids import new_id
from tests.integration.http.places import Place, client_of, place
from tests.integration.media.ingesting import jpeg

__all__ = ["place"]
OLD_S = REST_S + 60


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
async def client(place: Place, storage: Path):
    app = create_app(place.settings, MediaSettings(storage_url=str(storage)))
    async with client_of(app, await place.key()) as client:
        yield client


def write(storage: Path, key: str, *, age_s: float = OLD_S) -> Path:
    path = storage / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    changed_s = time.time() - age_s
    os.utime(path, (changed_s, changed_s))
    return path


async def uploaded(client: httpx.AsyncClient) -> str:
    answer = await client.post("/v1/media", content=jpeg(100, new_id("x")), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 202, answer.text
    made: str = answer.json()["id"]
    return made


def files(storage: Path) -> set[str]:
    return {str(path.relative_to(storage)) for path in storage.rglob("*") if path.is_file()}


async def sweep(place: Place, storage: Path, **given: Any):
    options: dict[str, Any] = {"budget_s": 60, "stopping": lambda: False, **given}
    return await sweep_files(Blobs(str(storage)), place.database, options.pop("after", None), **options)


async def test_only_what_no_row_makes_count_goes(place: Place, client: httpx.AsyncClient, storage: Path) -> None:
    waiting, done = await uploaded(client), await uploaded(client)
    sources = {row["source_key"] for row in await place.rows("SELECT source_key FROM media_assets")}
    kept = f"assets/{done}/renditions/2/w320.webp"
    await place.rows(
        "UPDATE media_assets SET renditions = :r WHERE id = :id", id=done, r=orjson.dumps([{"key": kept}]).decode()
    )
    await place.rows("DELETE FROM job WHERE id = (SELECT job_id FROM media_assets WHERE id = :id)", id=done)
    gone, young, old_source = new_id("ast"), new_id("ast"), new_id("src")
    stay = {
        *sources, kept, f"assets/{young}/renditions/1/w320.webp",
        f"assets/{waiting}/renditions/1/w320.webp", f"assets/{done}/renditions/3/w320.webp",
    }  # fmt: skip
    for key in stay:
        write(storage, key, age_s=60 if young in key or "/3/" in key else OLD_S)
    for key in (f"{gone}/source", f"{gone}/source#1", f"{gone}/renditions/1/a.webp", f"{done}/renditions/1/w320.webp"):
        write(storage, f"assets/{key}")
    write(storage, f"sources/{old_source}/source")
    write(storage, f"{min(sources)}#1")
    found = await sweep(place, storage)
    assert (found.folders, found.files, found.done) == (7, 6, True)
    assert files(storage) == stay
    assert not (storage / "assets" / gone).exists()
    assert (await sweep(place, storage)).files == 0


async def test_of_an_upload_in_parts_what_was_acknowledged_counts(place: Place, storage: Path) -> None:
    values = {"tenant": "acme", "protocol": "tus", "options": "{}", "now": 1}
    for upload, protocol, asset in (("upl_a", "tus", None), ("upl_b", "direct", None), ("upl_c", "direct", "ast_c")):
        await place.rows(
            "INSERT INTO media_uploads (id, tenant, protocol, length_bytes, offset_bytes, parts, options, asset_id,"
            " created_at, expires_at) VALUES (:id, :tenant, :protocol, 9, 1, 1, :options, :asset, :now, :now)",
            **{**values, "id": upload, "protocol": protocol, "asset": asset},
        )
    part = "INSERT INTO media_upload_parts (upload_id, starts_at, size_bytes, key) VALUES ('upl_a', 0, 1, :key)"
    await place.rows(part, key="uploads/upl_a/part_1")
    stay = {"uploads/upl_a/part_1", "uploads/upl_b/direct"}
    for key in (*stay, "uploads/upl_a/part_2", "uploads/upl_c/direct", "uploads/upl_d/part_1"):
        write(storage, key)
    write(storage, "uploads/upl_a/part_3", age_s=60)
    assert (await sweep(place, storage)).files == 3
    assert files(storage) == {*stay, "uploads/upl_a/part_3"}


async def test_a_bucket_is_walked_in_the_same_way(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    blobs._store, blobs._root = MemoryStore(), None
    names = sorted(new_id("ast") for _ in range(3))
    for name in names:
        for part in ("source", "renditions/1/a.webp", "renditions/1/b.webp"):
            await obstore.put_async(blobs._store, f"assets/{name}/{part}", b"x")
    walked = [folder async for folder in blobs.folders("assets")]
    assert [(name, len(keys)) for name, keys in walked] == [(name, 3) for name in names]
    assert all(abs(changed_s - time.time()) < 60 for _, keys in walked for changed_s in keys.values())
    assert [name async for name, _ in blobs.folders("assets", names[0])] == names[1:]
    await blobs.remove([*walked[0][1], f"assets/{names[0]}/gone"])
    assert [name async for name, _ in blobs.folders("assets")] == names[1:]


async def test_it_stops_and_goes_on_where_it_was(place: Place, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.media.leftovers.FOLDERS_AT_ONCE", 2)
    names = sorted(new_id("ast") for _ in range(5))
    for name in names:
        write(storage, f"assets/{name}/source")
        write(storage, f"sources/{name.replace('ast', 'src')}/source")
    asked = iter([False, True])
    found = await sweep(place, storage, stopping=lambda: next(asked))
    assert (found.files, found.root, found.after, found.done) == (2, "assets", names[1], False)
    asked = iter([False, False, False, True])
    found = await sweep(place, storage, after=found.after, stopping=lambda: next(asked))
    assert (found.files, found.root, found.after) == (5, "sources", names[1].replace("ast", "src"))
    found = await sweep(place, storage, root=found.root, after=found.after)
    assert (found.folders, found.files, found.done) == (3, 3, True)
    nothing = await sweep(place, storage, stopping=lambda: True)
    assert nothing.done  # no folder was left to stop before


async def test_a_deleted_asset_leaves_a_job_that_deletes_what_came_later(
    place: Place, client: httpx.AsyncClient, storage: Path
) -> None:
    """The process may die between the row's delete and the files', and the asset's job may still write some."""
    asset = await uploaded(client)
    assert (await client.delete(f"/v1/media/{asset}")).status_code == 204
    (job,) = await place.rows("SELECT args, run_at, created_at FROM job WHERE task = 'media.delete_files'")
    args = DeleteFiles.model_validate_json(job["args"])
    assert args.asset_id == asset
    assert [folder.split("_")[0] for folder in args.folders] == ["sources/src"]
    assert job["run_at"] - job["created_at"] == 2 * 3_600_000_000, "when no job of its own can run any longer"
    write(storage, f"assets/{asset}/renditions/1/late.webp")
    assert DeleteFiles in TASKS
    write(storage, f"{args.folders[0]}/source")
    assert await delete_files(args, Blobs(str(storage))) == {"files": 2}
    assert files(storage) == set()


def test_of_an_asset_whose_job_has_not_ended_everything_counts() -> None:
    keys = ("assets/a/source", "assets/a/renditions/1/x.webp", "assets/a/renditions/2/x.webp")
    made = orjson.dumps([{"key": keys[1]}]).decode()
    for state in ("ready", "dispatched", "running"):
        for renditions in (None, made):
            asset = {"source_key": keys[0], "renditions": renditions, "job_state": state}
            assert [asset_counts(asset, key) for key in keys] == [True] * 3, state
    for ended in ("completed", "dead", "cancelled", None):
        asset = {"source_key": keys[0], "renditions": None, "job_state": ended}
        assert [asset_counts(asset, key) for key in keys] == [True, False, False], ended
        assert [asset_counts({**asset, "renditions": made}, key) for key in keys] == [True, True, False], ended
    assert [asset_counts(None, key) for key in keys] == [False] * 3


async def test_what_a_cancelled_first_processing_has_left_goes(
    place: Place, client: httpx.AsyncClient, storage: Path
) -> None:
    asset = await uploaded(client)
    (row,) = await place.rows("SELECT job_id, source_key FROM media_assets")
    half = f"assets/{asset}/renditions/{row['job_id']}-1/w320.webp"
    write(storage, half)
    await place.end([row["job_id"]], "running")
    assert ((await sweep(place, storage)).files, half in files(storage)) == (0, True)
    await place.rows("UPDATE job SET state = 'cancelled' WHERE id = :id", id=row["job_id"])
    assert (await sweep(place, storage)).files == 1
    assert files(storage) == {row["source_key"]}


async def test_a_source_that_no_asset_names_goes_after_a_day(
    place: Place, client: httpx.AsyncClient, storage: Path
) -> None:
    """Code of before there were sources deletes an asset, while a rollout is under way, and leaves its source."""
    kept, old, young = [await uploaded(client) for _ in range(3)]
    sources = {row["id"]: row["source_id"] for row in await place.rows("SELECT id, source_id FROM media_assets")}
    yesterday = place.database.clock.now_us() - int(OLD_S * 1_000_000)
    for asset in (kept, old):
        await place.rows("UPDATE media_sources SET created_at = :at WHERE id = :id", at=yesterday, id=sources[asset])
    for asset in (old, young):
        await place.rows("DELETE FROM media_assets WHERE id = :id", id=asset)
    for source in sources.values():
        write(storage, f"sources/{source}/source")
    assert (await sweep(place, storage)).files == 1
    left = {row["id"] for row in await place.rows("SELECT id FROM media_sources")}
    assert left == {sources[kept], sources[young]}
    assert files(storage) == {f"sources/{source}/source" for source in left}


async def test_a_source_whose_bytes_come_again_while_it_is_taken_stays(place: Place, client: httpx.AsyncClient) -> None:
    """Of the lock on its row: an upload that refers to it has that until it commits."""
    asset = await uploaded(client)
    ((source,),) = [row.values() for row in await place.rows("SELECT source_id FROM media_assets")]
    (row,) = await place.rows("SELECT * FROM media_assets")
    await place.rows("DELETE FROM media_assets")
    taking = None
    async with open_tx(place.database, cap_s=10) as tx:
        await tx.fetch(_LOCK, {"id": source})  # as `settle` does
        taking = asyncio.create_task(release_unnamed(place.database, [source], row["created_at"] + 1))
        await asyncio.sleep(0.2)
        await insert_asset(tx, **{**row, "id": asset})
    assert await taking == []
    assert [row["id"] for row in await place.rows("SELECT id FROM media_sources")] == [source]
