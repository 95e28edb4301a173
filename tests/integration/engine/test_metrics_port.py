"""Workers and relays have no HTTP: with a port of their own they show what they count."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from shared.runtime.migrate import upgrade
from shared.runtime.resources import open_resources
from shared.testing.lab import Noop
from shared.testing.servers import Valkey
from tests.faults.rig import Rig


@pytest.fixture
async def rig(tmp_path: Path, valkey: Valkey) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, f"sqlite:///{tmp_path / 'ledger.db'}", valkey, None)
    try:
        await upgrade(made.url)
        async with open_resources(made.settings) as resources:
            made.resources = resources
            yield made
            made.stop()
    finally:
        made.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def scraped(port: int, words: str) -> str:
    async with asyncio.timeout(30), httpx.AsyncClient() as client:
        while True:
            try:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            except httpx.TransportError:
                text = ""
            if words in text:
                return text
            await asyncio.sleep(0.05)


async def test_each_shows_its_counters_on_its_port(rig: Rig) -> None:
    relay, worker = free_port(), free_port()
    rig.relay(HOLDFAST_METRICS_PORT=str(relay))
    rig.worker(HOLDFAST_METRICS_PORT=str(worker))
    await rig.enqueue(*(Noop() for _ in range(3)))
    assert await rig.settled() == {"completed": 3}
    await scraped(worker, 'holdfast_jobs_total{outcome="completed",task="lab.noop"} 3.0')
    await scraped(relay, "holdfast_cron_late_seconds")
    async with httpx.AsyncClient() as client:
        ready = await client.get(f"http://127.0.0.1:{worker}/readyz")
    assert (ready.status_code, ready.headers["content-type"]) == (200, "application/json")
    assert ready.json() == {"status": "ready", "checks": {"place": "ok"}, "missing": []}


async def test_a_port_that_is_taken_does_not_stop_the_work(rig: Rig) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        rig.relay()
        rig.worker(HOLDFAST_METRICS_PORT=str(taken.getsockname()[1]))
        await rig.enqueue(Noop())
        assert await rig.settled() == {"completed": 1}
    assert rig.logged("w", "metrics_unserved") == 1
