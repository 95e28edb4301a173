"""One running system for every end-to-end test that leaves it running, and one receiver for its webhooks."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.receiver import Receiver
from tests.e2e.running import Up, the_system


@pytest.fixture(scope="session")
def up() -> Up:
    return the_system()


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture(scope="module")
def http(up: Up, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A tenant of this module's own, with every scope."""
    with up.client(request.module.__name__.rpartition("_")[2]) as client:
        yield client
