"""An asset is shown with the state of the job that it names, whatever ends between two looks at the database."""

from typing import Any

import pytest

from services.media.routes import assets
from tests.integration.http.places import on_one_database
from tests.integration.media.ingesting import Service, bucket, jpeg, on_a_directory, place, s3_server, service, storage
from tests.integration.media.test_tus import create, patch

__all__ = ["bucket", "place", "s3_server", "service", "storage"]


@on_one_database
@on_a_directory
async def test_an_asset_whose_bytes_come_between_two_looks_is_not_processed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, real, came = jpeg(1000), assets.read_job, []
    asset = (await patch(service, await create(service, len(body)), 0, body)).headers["holdfast-asset"]

    async def after_the_bytes_came(*given: Any) -> Any:
        if not came:
            came.append(await service.run("media.assemble_upload"))
        return await real(*given)

    monkeypatch.setattr(assets, "read_job", after_the_bytes_came)
    shown = (await service.client.get(f"/v1/media/{asset}")).json()
    (job,) = await service.jobs("media.process_asset")
    assert (came[0]["state"], shown["job"]) == ("completed", job["id"])
    assert (shown["state"], shown["renditions"]) == ("accepted", [])
