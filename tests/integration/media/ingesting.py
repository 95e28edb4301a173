"""The media service with storage of its own, on both databases, in a directory and in a bucket of a real S3 API.

`Service.run` takes a job the way a worker would up to its handler: dispatched, claimed, called; only the pool is left
out, which no job of this part needs.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.media.app import create_app
from services.media.blobs import Blobs
from services.media.settings import MediaSettings
from services.media.tasks import TASKS
from shared.contracts.commands import ALL
from shared.kernel.errors import Overloaded
from shared.kernel.ids import new_id
from shared.kernel.settings import CoreSettings
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import born
from shared.testing.dispatching import dispatch_due
from shared.transport.attempt import Attempt
from shared.transport.paced import progress_writer
from tests.integration.http.places import Place, client_of, place

__all__ = ["bucket", "place", "service"]

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
LINK_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
BUCKET = "holdfast-media"


def jpeg(size: int = 1_000, mark: str = "") -> bytes:
    """So many bytes that begin as a JPEG does, told apart by `mark`."""
    body = JPEG + mark.encode()
    return body + b"\x5a" * (size - len(body))


async def full(*_: Any) -> None:
    """For `Room.take`: no room for anything."""
    raise Overloaded("full", code="media_queue_full", retry_after_s=1)


@dataclass
class Service:
    place: Place
    app: Any
    client: httpx.AsyncClient
    settings: MediaSettings
    blobs: Blobs
    finished: list[dict[str, Any]] = field(default_factory=list)

    async def other(self, *scopes: str, tenant: str = "mallory") -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.place.key(*scopes, tenant=tenant)}"}

    async def upload(self, content: bytes, **options: Any) -> httpx.Response:
        """Tried again while a busy machine does not get its transaction through in time: nothing was changed then."""
        while (answer := await self.client.post("/v1/media", content=content, **options)).status_code == 503:
            pass
        return answer

    async def delete(self, asset_id: str) -> None:
        while (answer := await self.client.delete(f"/v1/media/{asset_id}")).status_code == 503:
            pass
        assert answer.status_code == 204, answer.text

    async def keys(self) -> list[str]:
        """Every object that there is."""
        found = []
        for root in ("assets", "sources", "uploads"):
            async for _, keys in self.blobs.folders(root):
                found += keys
        return sorted(found)

    async def read(self, key: str) -> bytes:
        return b"".join([chunk async for chunk in (await self.blobs.open(key)).chunks])

    async def jobs(self, task: str) -> list[dict[str, Any]]:
        return await self.place.rows("SELECT * FROM job WHERE task = :task ORDER BY id", task=task)

    async def run(self, task: str, **changes: Any) -> dict[str, Any]:
        """Run the one job of `task` that waits, to the end of its handler, and show its row."""
        database = self.place.database
        incarnation, now_us = new_id("inc"), database.clock.now_us() + 1
        await born(database, incarnation, queue="media", role="test", host="h", pid=1, capacity=9, now_us=now_us)
        for queue in ("media", "media-bulk"):
            await dispatch_due(database, queue, now_us)
        (waiting,) = [job for job in await self.jobs(task) if job["state"] == "dispatched"]
        (found,) = await claim(database, [waiting["id"]], incarnation, now_us)
        attempt = Attempt(found, database, lambda _: None, progress_writer(database))
        handler: Callable[..., Any] = TASKS[ALL[task]]
        given: dict[str, Any] = {
            "attempt": attempt, "resources": self.app.state.resources, "blobs": self.blobs, "settings": self.settings,
            "places": self.app.state.places,
            **changes,
        }  # fmt: skip
        wanted = handler.__code__.co_varnames[1 : handler.__code__.co_argcount]
        await handler(ALL[task].model_validate_json(found.args), **{name: given[name] for name in wanted})
        (ended,) = await self.place.rows("SELECT * FROM job WHERE id = :id", id=waiting["id"])
        return ended


@asynccontextmanager
async def serving(
    place: Place, storage: str, core: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Service]:
    settings = MediaSettings(**{"storage_url": storage, "link_key": LINK_KEY, **options})
    app = create_app(CoreSettings(**{**place.settings.model_dump(), **(core or {})}), settings)
    async with client_of(app, await place.key()) as client:
        yield Service(place, app, client, settings, app.state.blobs)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, as a storage URL; what it takes to reach it is in the environment, as in production."""
    import boto3

    name = f"media-{new_id('b')[2:]}"
    access = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=s3_server, **access).create_bucket(Bucket=name)
    for variable, value in (
        ("AWS_ENDPOINT", s3_server), ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_REGION", "us-east-1"), ("AWS_ALLOW_HTTP", "true"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, value)
    return f"s3://{name}/media"


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "media") if request.param == "local" else str(request.getfixturevalue("bucket"))


on_a_directory = partial(pytest.mark.parametrize, "storage", ["local"], indirect=True)()


@pytest.fixture
async def service(place: Place, storage: str) -> AsyncIterator[Service]:
    """On SQLite and PostgreSQL, in a directory and in a bucket."""
    async with serving(place, storage) as opened:
        yield opened
