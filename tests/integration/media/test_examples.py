"""Every example of the media service's OpenAPI is true: files by every way in, through real slots, and away again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.media.store_quarantine import note_casualty
from services.media.worker import start_pool
from tests.integration.http.places import Place, on_one_database
from tests.integration.http.told import Told
from tests.integration.media import films
from tests.integration.media.ingesting import Service, bucket, place, s3_server, serving
from tests.integration.media.pictures import PHOTO

__all__ = ["bucket", "place", "s3_server"]
MEDIA = "/v1/media"
UPLOADS = f"{MEDIA}/uploads"
PRESETS = f"{MEDIA}/presets"
QUARANTINE = f"{MEDIA}/quarantine"
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}
CONTENT = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.fixture
async def service(place: Place, bucket: str) -> AsyncIterator[Service]:
    """In a bucket, to which clients may write themselves; with slots."""
    async with serving(place, bucket, slots=1) as opened:
        await start_pool(opened.app)
        yield opened


@on_one_database
async def test_the_examples_are_what_is_answered(service: Service, tmp_path: Path) -> None:
    told = await Told.of(service.client)
    for path in ("/healthz", "/readyz", "/metrics"):
        await sent(service, "GET", path)
    photo = await pictures(service, told)
    await files(service, photo)
    await decisions(service, told, photo)
    await films_and_sounds(service, tmp_path)
    await in_parts(service)
    await from_elsewhere(service, told)
    await preset_sets(service, told)
    await quarantined(service)
    await sent(service, "DELETE", photo)
    assert told.uncalled() == []
    wrong = [each for each in told.untrue() if "/readyz" not in each]  # its degraded one is the api's to show
    assert "\n".join(wrong) == ""


async def sent(service: Service, method: str, path: str, **options: Any) -> httpx.Response:
    answer = await service.client.request(method, path, **options)
    assert answer.is_success, answer.text
    return answer


async def work(service: Service, task: str = "media.process_asset") -> str:
    return str((await service.run(task, pool=service.app.state.pool))["state"])


async def uploaded(service: Service, content: bytes, **params: str) -> str:
    """The path of the asset."""
    return (await sent(service, "POST", MEDIA, content=content, params=params)).headers["location"]


async def pictures(service: Service, told: Told) -> str:
    """One that is broken, and one that is not, which is the only one in a list."""
    broken = await uploaded(service, PHOTO.read_bytes()[:200_000])
    assert await work(service) == "dead"
    await sent(service, "GET", broken)
    await sent(service, "DELETE", broken)
    form = {"file": ("photo.jpg", PHOTO.read_bytes(), "image/jpeg")}
    photo = (await sent(service, "POST", MEDIA, files=form)).headers["location"]
    assert await work(service) == "completed"
    for path in (photo, MEDIA):
        await sent(service, "GET", path)
    return photo


async def files(service: Service, photo: str) -> None:
    links = (await sent(service, "GET", f"{photo}/links")).json()
    paths = [f"{photo}/renditions/w320", f"{photo}/source", links["renditions"]["w320"], links["source"]]
    for path in paths:
        whole = await sent(service, "GET", path)
        part = await sent(service, "GET", path, headers={"Range": "bytes=0-99"})
        assert (part.status_code, part.content) == (206, whole.content[:100])


async def decisions(service: Service, told: Told, photo: str) -> None:
    for body in told.bodies("post", f"{MEDIA}/{{asset_id}}/reprocess"):
        again = await sent(service, "POST", f"{photo}/reprocess", json=body)
        bulk = body.get("priority") == "bulk" or again.json()["preset_set"] == "custom"  # the priority of before
        assert await work(service, "media.process_in_bulk" if bulk else "media.process_asset") == "completed"
    for how in ("waits", "runs"):
        asset = await sent(service, "POST", MEDIA, content=PHOTO.read_bytes())
        if how == "runs":
            await service.place.end([asset.json()["job"]], "running")
        await sent(service, "POST", f"{asset.headers['location']}/cancel")
        await sent(service, "DELETE", asset.headers["location"])


async def films_and_sounds(service: Service, tmp_path: Path) -> None:
    film, sound = tmp_path / "film", tmp_path / "sound"
    films.film(film, "mp4", seconds=0.5)
    films.sound(sound, "mp3", seconds=0.5)
    for content, rendition in ((film.read_bytes(), "720p"), (sound.read_bytes(), "peaks")):
        asset = await uploaded(service, content)
        assert await work(service, "media.process_in_bulk") == "completed"
        await sent(service, "GET", asset)
        await sent(service, "GET", f"{asset}/renditions/{rendition}")


async def in_parts(service: Service) -> None:
    body = PHOTO.read_bytes()
    length = {**TUS, "Upload-Length": str(len(body))}
    await sent(service, "OPTIONS", UPLOADS)
    upload = (await sent(service, "POST", UPLOADS, headers=length)).headers["location"]
    for start, end in ((0, 400_000), (400_000, len(body))):
        await sent(service, "GET", upload)
        await sent(service, "PATCH", upload, headers={**PART, "Upload-Offset": str(start)}, content=body[start:end])
    await sent(service, "GET", upload)
    other = (await sent(service, "POST", UPLOADS, headers=length)).headers["location"]
    await sent(service, "DELETE", other, headers=TUS)


async def from_elsewhere(service: Service, told: Told) -> None:
    for body in told.bodies("post", f"{MEDIA}/from-url"):
        asset = await sent(service, "POST", f"{MEDIA}/from-url", json=body)
        await sent(service, "GET", asset.headers["location"])
    for body in told.bodies("post", f"{MEDIA}/direct"):
        begun = (
            await sent(service, "POST", f"{MEDIA}/direct", json={**body, "size_bytes": PHOTO.stat().st_size})
        ).json()
        async with httpx.AsyncClient() as outside:
            assert (await outside.request(begun["method"], begun["url"], content=PHOTO.read_bytes())).is_success
        await sent(service, "POST", begun["complete"])
    begun = (await sent(service, "POST", f"{MEDIA}/direct", json={"size_bytes": 1_000})).json()
    await sent(service, "DELETE", f"{UPLOADS}/{begun['id']}")


async def preset_sets(service: Service, told: Told) -> None:
    (body,) = told.bodies("put", f"{PRESETS}/{{name}}")
    answers = [await sent(service, "PUT", f"{PRESETS}/shop", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    for path in (PRESETS, f"{PRESETS}/shop", f"{PRESETS}/default"):
        await sent(service, "GET", path)
    await sent(service, "DELETE", f"{PRESETS}/shop")


async def quarantined(service: Service) -> None:
    await note_casualty(service.place.database, "acme", CONTENT, "SIGSEGV", most=1)
    for path in (QUARANTINE, f"{QUARANTINE}/{CONTENT}"):
        await sent(service, "GET", path)
    await sent(service, "DELETE", f"{QUARANTINE}/{CONTENT}")
