"""Files that no row makes count go, and no other ever does."""

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
from services.media.leftovers import REST_S, leftovers, sweep_files
from services.media.settings import MediaSettings
from services.media.tasks import TASKS, delete_files
from shared.contracts.commands.media import DeleteFiles
from shared.kernel.ids import new_id
from tests.integration.http.places import Place, client_of, place

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
    answer = await client.post("/v1/media", content=b"x" * 10, headers={"Content-Type": "image/jpeg"})
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
    kept = f"assets/{done}/renditions/2/w320.webp"
    await place.rows(
        "UPDATE media_assets SET renditions = :r WHERE id = :id", id=done, r=orjson.dumps([{"key": kept}]).decode()
    )
    gone, young = new_id("ast"), new_id("ast")
    stay = {
        f"assets/{waiting}/source", f"assets/{done}/source", kept, f"assets/{young}/source",
        f"assets/{waiting}/renditions/1/w320.webp", f"assets/{done}/renditions/3/w320.webp",
    }  # fmt: skip
    for key in stay:
        write(storage, key, age_s=60 if young in key or "/3/" in key else OLD_S)
    for key in (f"{gone}/source", f"{gone}/source#1", f"{gone}/renditions/1/a.webp", f"{done}/renditions/1/w320.webp"):
        write(storage, f"assets/{key}")
    found = await sweep(place, storage)
    assert (found.assets, found.files, found.done) == (4, 4, True)
    assert files(storage) == stay
    assert not (storage / "assets" / gone).exists()
    assert (await sweep(place, storage)).files == 0


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
    asked = iter([False, True])
    found = await sweep(place, storage, stopping=lambda: next(asked))
    assert (found.files, found.after, found.done) == (2, names[1], False)
    found = await sweep(place, storage, after=found.after)
    assert (found.assets, found.files, found.done) == (3, 3, True)
    nothing = await sweep(place, storage, stopping=lambda: True)
    assert nothing.done  # no folder was left to stop before


async def test_a_deleted_asset_leaves_a_job_that_deletes_what_came_later(
    place: Place, client: httpx.AsyncClient, storage: Path
) -> None:
    """The process may die between the row's delete and the files', and the asset's job may still write some."""
    asset = await uploaded(client)
    assert (await client.delete(f"/v1/media/{asset}")).status_code == 204
    (job,) = await place.rows("SELECT args, run_at, created_at FROM job WHERE task = 'media.delete_files'")
    assert orjson.loads(job["args"]) == {"asset_id": asset}
    assert job["run_at"] - job["created_at"] == 120_000_000
    write(storage, f"assets/{asset}/renditions/1/late.webp")
    assert DeleteFiles in TASKS
    assert await delete_files(DeleteFiles(asset_id=asset), Blobs(str(storage))) == {"files": 1}
    assert files(storage) == set()


def test_of_an_asset_that_has_not_ended_everything_counts() -> None:
    keys = {"assets/a/source": 0.0, "assets/a/renditions/1/x.webp": 0.0}
    asset = {"source_key": "assets/a/source", "renditions": None, "error": None}
    assert leftovers(keys, asset, 1.0) == []
    assert leftovers(keys, {**asset, "error": "{}"}, 1.0) == ["assets/a/renditions/1/x.webp"]
    assert sorted(leftovers(keys, None, 1.0)) == sorted(keys)
    assert leftovers(keys, None, 0.0) == []
