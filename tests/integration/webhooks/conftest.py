"""Tests of the sender run on both event loops: uvloop is what workers use, asyncio is what a laptop may have."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.integration.webhooks.office import office  # noqa: F401 - a fixture


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if not item.path.name.startswith(("test_sender", "test_hostile")):
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
