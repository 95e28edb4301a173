from collections.abc import AsyncIterator

import httpx
import pytest

from services.api.app import create_app
from services.api.settings import ApiSettings
from tests.integration.http.places import Place, client_of, place

__all__ = ["place"]


@pytest.fixture
async def client(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    """The api service, in this process, asked by acme with every scope."""
    app = create_app(place.settings, ApiSettings())
    async with client_of(app, await place.key()) as client:
        yield client
