"""Every fault test runs on both databases, each test on servers and folders of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.runtime.migrate import upgrade
from shared.runtime.resources import open_resources
from shared.testing.servers import Postgres, Valkey
from tests.faults.lanes import open_lanes
from tests.faults.rig import Rig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in str(item.path):
            item.add_marker(pytest.mark.faults)


@pytest.fixture(params=["sqlite", "postgres"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    valkey = Valkey(tmp_path / "valkey").start()
    postgres = Postgres(tmp_path / "postgres").start() if request.param == "postgres" else None
    made = Rig(tmp_path, postgres.url if postgres else f"sqlite:///{tmp_path / 'ledger.db'}", valkey, postgres)
    try:
        await upgrade(made.url)
        async with open_resources(made.settings) as resources:
            made.resources = resources
            await open_lanes(made.database, "t")
            yield made
            made.stop()
    finally:
        made.stop()
        valkey.stop()
        if postgres is not None:
            postgres.stop()
