"""What uploads cost a tenant that has many: how they are counted, and how they go."""

from typing import Any

import pytest
from sqlalchemy import text

from services.media import store_uploads, upkeep
from services.media.store_uploads import count_open
from shared.contracts.commands.media import ExpireUploads
from shared.transport.attempt import Attempt
from shared.transport.enqueue import enqueue
from tests.integration.http.places import Place
from tests.integration.media.ingesting import Service, bucket, on_a_directory, place, s3_server, service, storage

__all__ = ["bucket", "place", "s3_server", "service", "storage"]
_ROW = """
    INSERT INTO media_uploads (id, tenant, protocol, length_bytes, offset_bytes, parts, options, asset_id, created_at,
                               expires_at)
    VALUES (:id, 'acme', 'tus', 9, 0, 0, '{}', :asset, 1, :expires)
"""


async def test_those_that_have_ended_are_not_walked_to_count_the_open_ones(place: Place) -> None:
    for number in range(40):
        ended, expires = number % 8 != 0, 1 if number == 0 else 9
        await place.rows(_ROW, id=f"upl_{number}", asset=f"ast_{number}" if ended else None, expires=expires)
    database = place.database
    assert await count_open(database, "acme", 5, most=10) == 4
    assert await count_open(database, "acme", 5, most=3) == 3
    values = {"tenant": "acme", "now": 5, "most": 10}
    words = store_uploads._OPEN.text
    if database.dialect == "sqlite":
        found = [str(row) for row in await place.rows(f"EXPLAIN QUERY PLAN {words}", **values)]
    else:
        async with database.engine.connect() as connection:
            await connection.execute(text("SET enable_seqscan = off"))
            found = list((await connection.execute(text(f"EXPLAIN {words}"), values)).scalars())
    assert any("ix_media_uploads_open" in line for line in found), found


class Watched:
    """The storage, and how many rows there were when each folder went."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.gone: list[tuple[str, int]] = []

    async def delete_prefix(self, prefix: str) -> int:
        rows = await self.service.place.rows("SELECT id FROM media_uploads")
        self.gone.append((prefix, len(rows)))
        return await self.service.blobs.delete_prefix(prefix)


async def expire(service: Service, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Five uploads that have expired, two a batch."""
    monkeypatch.setattr(upkeep, "EXPIRE_BATCH", 2)
    for number in range(5):
        await service.place.rows(_ROW, id=f"upl_{number}", asset=None, expires=number)
    async with service.app.state.resources.tx() as tx:
        await enqueue(tx, ExpireUploads(), tenant="system")
    return await service.run("media.expire_uploads", blobs=watched)


@on_a_directory
async def test_the_files_of_expired_uploads_go_batch_by_batch(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(service)
    ended = await expire(service, watched, monkeypatch)
    assert (ended["state"], '"media_uploads":5' in ended["result"]) == ("completed", True)
    assert watched.gone == [(f"uploads/upl_{number}", left) for number, left in enumerate((3, 3, 1, 1, 0))]


@on_a_directory
async def test_a_process_that_is_to_end_leaves_the_files_of_its_batch_to_the_night(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(service)
    monkeypatch.setattr(Attempt, "is_stopping", property(lambda _: bool(watched.gone)))
    ended = await expire(service, watched, monkeypatch)
    assert [folder for folder, _ in watched.gone] == ["uploads/upl_0"]
    assert len(await service.place.rows("SELECT id FROM media_uploads")) == 3
    (rest,) = [job for job in await service.jobs("media.expire_uploads") if job["id"] != ended["id"]]
    assert (ended["state"], '"upl_1"' in rest["args"]) == ("completed", True)
