"""Deliveries with the real relay and a worker's slots: instants of retries, a circuit that is open, lanes by key.

Nothing here waits by sleeping: what happened when is read from the ledger afterwards.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from aiohttp import web

from shared.testing.servers import Valkey
from tests.integration.webhooks.office import Office, open_office, prepare
from tests.integration.webhooks.test_fairness import WAIT_S, at_work
from tests.stalls import Stalls

EXACT_US = 250_000


async def until(office: Office, sql: str, count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await office.rows(sql))[0]["n"] < count:  # noqa: ASYNC110 - rows, polled
            await asyncio.sleep(0.02)


async def test_retries_start_when_the_schedule_says(office: Office) -> None:
    """Never early; to a quarter of a second for most of them, which others at work on the machine may leave late."""
    schedule = [0.4, 1.0, 0.7]
    await office.endpoint("work.*", url=office.receiver.url("/bad"), retry_schedule_s=schedule)
    await office.endpoint("warm.*")
    async with at_work(office):
        await office.event("warm.up")
        await until(office, "SELECT count(*) AS n FROM job WHERE state = 'completed'", 1)
        with Stalls() as stalls:
            for _ in range(2):
                await office.event("work.one")
            await until(office, "SELECT count(*) AS n FROM job WHERE state = 'dead'", 2)
    late_us = []
    for job in await office.rows("SELECT id, created_at FROM job WHERE state = 'dead'"):
        of_job = "SELECT started_at, finished_at FROM job_attempt WHERE job_id = :id ORDER BY fence"
        attempts = await office.rows(of_job, id=job["id"])
        ready = [job["created_at"], *(attempt["finished_at"] for attempt in attempts[:-1])]
        for at, delay_s, attempt in zip(ready, [0, *schedule], attempts, strict=True):
            late_us.append(attempt["started_at"] - at - delay_s * 1e6)
    assert min(late_us) >= -1_000
    assert median(late_us) < EXACT_US
    assert max(late_us) - stalls.seconds * 1e6 < 4 * EXACT_US


async def test_an_open_circuit_takes_no_slot_and_no_attempt_until_its_probe(
    database_url: str, valkey: Valkey, tmp_path: Path
) -> None:
    await prepare(database_url)
    async with open_office(database_url, valkey.url, tmp_path, circuit_pause_s=3.0) as office:
        failing, taken = True, []

        async def take(request: web.BaseRequest) -> web.StreamResponse:
            taken.append((office.database.clock.now_us(), request.path))
            return web.Response(status=500 if failing and request.path == "/hook" else 204)

        office.receiver.take = take
        await office.endpoint("work.*", retry_schedule_s=[3] * 20)
        await office.endpoint("other.*", url=office.receiver.url("/other"))
        async with at_work(office):
            for number in range(10):
                await office.event("work.one", {"n": number})
            opened = "SELECT count(*) AS n FROM webhooks_health WHERE opened_at IS NOT NULL"
            await until(office, opened, 1)
            (row,) = await office.rows("SELECT opened_at, held_until FROM webhooks_health")
            for number in range(40):
                await office.event("work.one", {"late": number})
            await office.event("other.one")
            await until(office, "SELECT count(*) AS n FROM job WHERE state = 'completed'", 1)
            failing = False
            await until(office, "SELECT count(*) AS n FROM job WHERE state = 'completed'", 51)
        hooks = [at for at, path in taken if path == "/hook"]
        while_open = [at for at in hooks if row["opened_at"] < at < row["held_until"]]
        assert while_open == [], "nothing was sent while it was open"
        first = min(at for at in hooks if at >= row["held_until"])
        assert first - row["held_until"] < 4 * EXACT_US, "and the probe came when it was to"
        spent = await office.rows("SELECT max(attempt) AS most FROM job WHERE attempt > 2")
        assert spent[0]["most"] is None, "what waited spent nothing"
        assert (await office.rows("SELECT count(*) AS n FROM webhooks_health WHERE opened_at IS NULL"))[0]["n"] == 1


async def test_a_stuck_key_stops_no_other_key(office: Office) -> None:
    """Each in order, and each backs off by itself."""
    seen: list[Any] = []
    stuck = True

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        data = orjson.loads(await request.read())["data"]
        if data["key"] == "a" and stuck:
            return web.Response(status=500)
        seen.append((data["key"], data["n"]))
        return web.Response(status=204)

    office.receiver.take = take
    await office.endpoint(ordering="key", retry_schedule_s=[0.3] * 9)
    for number in range(4):
        for key in ("a", "b", "c"):
            body = {"type": "x.y", "data": {"key": key, "n": number}, "ordering_key": key}
            await office.ok(office.client.post("/v1/webhooks/events", json=body), 202)
    async with at_work(office):
        await until(office, "SELECT count(*) AS n FROM job WHERE state = 'completed'", 8)
        assert {key for key, _ in seen} == {"b", "c"}, "key a waits for its retry, and nobody for key a"
        stuck = False
        await until(office, "SELECT count(*) AS n FROM job WHERE state = 'completed'", 12)
    for key in ("a", "b", "c"):
        assert [n for each, n in seen if each == key] == [0, 1, 2, 3], "in the order of the key"
