"""An engine for each test, on SQLite and then on PostgreSQL; what it leaves behind must hold in the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.testing.servers import Valkey
from tests.integration.engine.engine import RECONCILE_S, Engine, open_engine


@pytest.fixture
async def engine(
    database_url: str, valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Engine]:
    monkeypatch.setattr("shared.runtime.relay.RECONCILE_S", RECONCILE_S)
    async with open_engine(database_url, valkey.url, tmp_path) as opened:
        yield opened
