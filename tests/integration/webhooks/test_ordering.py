"""Order and pace of an endpoint, with the real relay and the real pump: keys in order, a stuck one alone, a rate."""

from __future__ import annotations

import asyncio
import time

import orjson
from aiohttp import web

from tests.integration.webhooks.office import Office
from tests.integration.webhooks.test_fairness import WAIT_S, at_work


class Ledger:
    """What came, in order: (key, n). The key "stuck" is refused."""

    def __init__(self) -> None:
        self.came: list[tuple[str, int]] = []
        self.at_s: list[float] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        data = orjson.loads(await request.read())["data"]
        self.at_s.append(time.monotonic())
        self.came.append((data["key"], data["n"]))
        return web.Response(status=500 if data["key"] == "stuck" else 204)

    def of(self, key: str) -> list[int]:
        return [n for came, n in self.came if came == key]

    async def until(self, count: int, *keys: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while sum(len(self.of(key)) for key in keys) < count:  # noqa: ASYNC110 - the receiver's own state, polled
                await asyncio.sleep(0.01)


async def publish(office: Office, key: str, n: int) -> None:
    body = {"type": "a", "data": {"key": key, "n": n}, "ordering_key": key}
    await office.ok(office.client.post("/v1/webhooks/events", json=body), 202)


async def test_each_key_keeps_its_order_and_a_stuck_one_stops_no_other(office: Office) -> None:
    ledger = Ledger()
    office.receiver.take = ledger.handle
    await office.endpoint("*", ordering="key", retry_schedule_s=[600, 600])
    for n in range(8):
        for key in ("stuck", "a", "b"):
            await publish(office, key, n)
    async with at_work(office):
        await ledger.until(16, "a", "b")
    assert ledger.of("a") == ledger.of("b") == list(range(8))
    assert ledger.of("stuck") == [0], "what is behind the one that is retried waits for it"


async def test_an_ordered_endpoint_gets_its_events_as_they_were_accepted(office: Office) -> None:
    ledger = Ledger()
    office.receiver.take = ledger.handle
    await office.endpoint("*", ordering="endpoint")
    async with at_work(office):
        for n in range(20):
            await publish(office, "k", n)
        await ledger.until(20, "k")
    assert ledger.of("k") == list(range(20))


async def test_a_rate_holds_for_all_keys_together(office: Office) -> None:
    ledger = Ledger()
    office.receiver.take = ledger.handle
    await office.endpoint("*", ordering="key", rate_per_s=10)
    for n in range(9):
        await publish(office, "abc"[n % 3], n)
    async with at_work(office):
        await ledger.until(9, "a", "b", "c")
    assert ledger.at_s[-1] - ledger.at_s[0] >= 0.6, "eight intervals of 100 ms, but for how late the first one came"
