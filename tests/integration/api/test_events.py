"""Following a job over a real server: in order, over cuts, restarts and a dead Redis, bounded, and never in the way."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from services.api import stream
from services.api.app import create_app
from services.api.settings import ApiSettings
from shared.kernel.ids import new_id
from shared.ledger import states
from shared.ledger.progress import Report
from shared.ledger.states import Claim
from shared.ledger.store_claim import claim
from shared.ledger.store_incarnation import born
from shared.ledger.store_progress import write_progress
from shared.ledger.store_record import record
from shared.runtime import watch
from shared.runtime.sse import Event, Reader
from shared.testing.dispatching import dispatch_due
from shared.testing.servers import Valkey, free_port
from tests.integration.api.test_jobs import make
from tests.integration.http.places import Place, bearer, client_of, expect_problem, on_one_database, place

__all__ = ["place"]
LIMIT_S = 20.0  # of anything; an idle machine needs half a second


class Work:
    """A worker's writes, by hand."""

    def __init__(self, place: Place) -> None:
        self.database = place.database

    async def claim(self, job: str) -> Claim:
        incarnation, now_us = new_id("inc"), self.database.clock.now_us()
        await born(self.database, incarnation, queue="api", role="test", host="h", pid=1, capacity=9, now_us=now_us)
        await dispatch_due(self.database, "api", now_us + 1)
        (held,) = await claim(self.database, [job], incarnation, now_us)
        return held

    async def report(self, held: Claim, fraction: float, note: str = "") -> None:
        report = Report(fraction, note, self.database.clock.now_us())
        assert await write_progress(self.database, [(held.key, report)])

    async def end(self, held: Claim, *, fails: bool = False) -> None:
        now_us = self.database.clock.now_us()
        failure = states.Failure("Boom", "it broke")
        ended = states.completed(held, now_us, started_at=now_us, result='{"ok":true}')
        if fails:
            ended = states.failed(held, now_us, failure, started_at=now_us, delay_s=0.0)
        async with self.database.transaction() as connection:
            found = await record(connection, [ended], sqlite=self.database.dialect == "sqlite")
        assert found == ["recorded"]


@dataclass
class Served:
    app: FastAPI
    url: str
    server: uvicorn.Server
    serving: "asyncio.Task[None]"

    async def stop(self) -> float:
        """A graceful shutdown; how long it took, in seconds."""
        began = time.monotonic()
        self.server.should_exit = True
        await asyncio.wait_for(self.serving, LIMIT_S)
        return time.monotonic() - began

    @property
    def watchers(self) -> int:
        return len(self.app.state.watch)

    async def until_watched_by(self, count: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self.watchers != count:  # noqa: ASYNC110 - the app tells nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def served(place: Place, *, port: int = 0, **settings: Any) -> AsyncIterator[Served]:
    app, port = create_app(place.settings, ApiSettings(**settings)), port or free_port()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, http="shared.runtime.heads:BoundedHttp",
        timeout_graceful_shutdown=int(LIMIT_S),
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(LIMIT_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
    running = Served(app, f"http://127.0.0.1:{port}", server, serving)
    try:
        yield running
    finally:
        if not serving.done():
            await running.stop()


class Following:
    """One client's stream: `next()` is its next event, with `data` read."""

    def __init__(self, answer: httpx.Response, last_id: str) -> None:
        self.answer = answer
        self.reader = Reader(last_id)
        self._pieces = answer.aiter_raw()
        self._events: list[Event] = []

    async def next(self) -> Event | None:
        """None at the stream's end."""
        async with asyncio.timeout(LIMIT_S):
            while not self._events:
                try:
                    self._events += self.reader.feed(await anext(self._pieces))
                except StopAsyncIteration:
                    return None
        event = self._events.pop(0)
        return replace(event, data=json.loads(event.data))

    async def rest(self) -> list[Event]:
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def following(url: str, key: str, job: str, last_id: str = "", **params: str) -> AsyncIterator[Following]:
    headers = bearer(key) | ({"Last-Event-ID": last_id} if last_id else {})
    async with (
        httpx.AsyncClient(timeout=LIMIT_S) as client,
        client.stream("GET", f"{url}/v1/jobs/{job}/events", headers=headers, params=params) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Following(answer, last_id)


async def test_states_and_progress_come_in_order_and_the_result_ends_the_stream(place: Place) -> None:
    key, work, (job,) = await place.key("jobs:read"), Work(place), await make(place)
    async with served(place) as app, following(app.url, key, job) as stream:
        first = await stream.next()
        assert first is not None
        assert (first.name, first.data["state"], first.data["attempt"]) == ("state", "queued", 0)
        held = await work.claim(job)
        began = time.monotonic()
        running = await stream.next()
        assert running is not None
        assert (running.data["state"], running.data["attempt"]) == ("running", 1)
        assert time.monotonic() - began < 5, "half a second, on an idle machine"
        for fraction, note in ((0.25, "a quarter"), (0.5, "half")):
            await work.report(held, fraction, note)
            told = await stream.next()
            assert told is not None
            assert (told.name, told.data["fraction"], told.data["note"]) == ("progress", fraction, note)
        await work.end(held, fails=True)
        retrying = await stream.next()
        assert retrying is not None
        assert (retrying.data["state"], retrying.data["attempt"]) == ("retrying", 1)
        held = await work.claim(job)
        again = await stream.next()
        assert again is not None
        assert (again.data["state"], again.data["attempt"]) == ("running", 2)
        await work.end(held)
        state, result = await stream.rest()
        assert (state.name, state.data["state"]) == ("state", "completed")
        assert (result.name, result.data["result"], len(result.data["attempts"])) == ("result", {"ok": True}, 2)
        assert stream.reader.retry_s == 1.0
        await app.until_watched_by(0)
        headers = bearer(key) | {"Last-Event-ID": result.id}
        async with httpx.AsyncClient() as client:  # an EventSource that comes again is told not to
            answer = await client.get(f"{app.url}/v1/jobs/{job}/events", headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")
        assert app.watchers == 0


async def test_a_cut_and_a_restart_lose_nothing_and_repeat_nothing(place: Place) -> None:
    key, work, (job,) = await place.key(), Work(place), await make(place)
    held = await work.claim(job)
    await work.report(held, 0.1)
    async with served(place) as app:
        async with following(app.url, key, job) as stream:
            seen = [await stream.next(), await stream.next()]
            assert [one.name for one in seen if one] == ["state", "progress"]
            last = stream.reader.last_id
        await app.until_watched_by(0)  # the client has gone, and is forgotten
        await work.report(held, 0.4)
        async with following(app.url, key, job, last) as stream:
            told = await stream.next()
            assert told is not None
            assert (told.name, told.data["fraction"]) == ("progress", 0.4), "what differs, and nothing before it"
            last = stream.reader.last_id
            assert await app.stop() < 5.0, "an open stream does not hold the server up"
            assert await stream.next() is None, "and ends as a stream should"
    async with served(place) as app:
        async with following(app.url, key, job, last_event_id=last) as stream:  # by the query, as well
            await work.end(held)
            assert [one.name for one in await stream.rest()] == ["state", "result"]
        async with following(app.url, key, job, "not.one.of.ours") as stream:
            assert [one.name for one in await stream.rest()] == ["state", "progress", "result"]


@on_one_database
async def test_it_needs_no_redis(place: Place, tmp_path: Path) -> None:
    key, work, (job,) = await place.key(), Work(place), await make(place)
    valkey = Valkey(tmp_path / "valkey", append_only=False).start()
    lone = Place(place.settings.model_copy(update={"redis_url": SecretStr(valkey.url)}), place.database)
    try:
        async with served(lone) as app, following(app.url, key, job) as stream:
            assert await stream.next() is not None
            valkey.kill()
            held = await work.claim(job)
            await work.report(held, 0.5)
            await work.end(held)
            names = [one.name for one in await stream.rest()]
            assert (names[0], names[-1]) == ("state", "result")
            assert "progress" in names
    finally:
        valkey.kill()


@on_one_database
async def test_streams_outlive_a_database_that_does_not_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FAILED_S", 0.05)
    key, work, (job,) = await place.key(), Work(place), await make(place)
    failed = asyncio.Event()
    async with served(place) as app, following(app.url, key, job) as stream:
        assert await stream.next() is not None

        async def away(*_: Any) -> Any:
            failed.set()
            raise ConnectionError("away")

        with monkeypatch.context() as broken:
            broken.setattr(watch, "read_watched", away)
            await asyncio.wait_for(failed.wait(), LIMIT_S)
            await work.end(await work.claim(job))
        assert [one.name for one in await stream.rest()] == ["state", "result"]


@on_one_database
async def test_another_tenant_and_other_scopes_see_nothing(place: Place) -> None:
    (job,) = await make(place)
    app = create_app(place.settings, ApiSettings())
    async with client_of(app, await place.key(tenant="other")) as client:
        expect_problem(await client.get(f"/v1/jobs/{job}/events"), 404, "not_found")
        expect_problem(await client.get("/v1/jobs/nothing/events"), 404, "not_found")
        answer = await client.get(f"/v1/jobs/{job}/events", headers=bearer(await place.key("jobs:write")))
        expect_problem(answer, 403, "not_allowed")
        answer = await client.get(f"/v1/jobs/{job}/events", params={"last_event_id": "x" * 101})
        expect_problem(answer, 422, "invalid")
        assert len(app.state.watch) == 0


@on_one_database
async def test_streams_are_bounded_for_a_key_and_for_the_process(place: Place) -> None:
    one, two, (job,) = await place.key(), await place.key(), await make(place)
    async with (
        served(place, watchers_max=3, watchers_per_key=2) as app,
        following(app.url, one, job),
        following(app.url, one, job) as second,
        httpx.AsyncClient(base_url=app.url) as client,
    ):
        path = f"/v1/jobs/{job}/events"
        document = expect_problem(await client.get(path, headers=bearer(one)), 429, "overloaded")
        assert "this API key has 2" in document["detail"]
        async with following(app.url, two, job):
            document = expect_problem(await client.get(path, headers=bearer(two)), 429, "overloaded")
            assert document["retry_after_s"] > 0
        await app.until_watched_by(2)
        await second.answer.aclose()
        await app.until_watched_by(1)
        async with following(app.url, one, job) as third:
            assert await third.next() is not None


@on_one_database
async def test_a_stream_says_that_it_lives_and_ends_after_its_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    key, (job,) = await place.key(), await make(place)
    async with served(place, watch_limit_s=1.0) as app:
        headers = bearer(key)
        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            answer = await client.get(f"{app.url}/v1/jobs/{job}/events", headers=headers)
            assert answer.text.startswith("retry: 1000\n\nid: ")
            assert answer.text.count(": still here\n\n") > 2
            assert answer.text.count("event: ") == 1
            head = await client.head(f"{app.url}/v1/jobs/{job}/events", headers=headers)
            assert (head.status_code, head.content) == (200, b"")
        await app.until_watched_by(0)


async def test_a_job_that_is_brought_back_is_followed_on(place: Place) -> None:
    key, (job,) = await place.key(), await make(place)
    await place.end([job])
    async with served(place) as app:
        async with following(app.url, key, job) as first:
            *_, result = await first.rest()
            assert result.data["state"] == "dead"
        async with httpx.AsyncClient(base_url=app.url, headers=bearer(key)) as client:
            assert (await client.post(f"/v1/jobs/{job}/retry")).status_code == 202
        async with following(app.url, key, job, result.id) as second:
            told = await second.next()
            assert told is not None
            assert (told.name, told.data["state"]) == ("state", "queued")


@on_one_database
async def test_sigterm_ends_a_server_with_open_streams_at_once(place: Place, tmp_path: Path) -> None:
    key, (job,), port = await place.key(), await make(place), free_port()
    settings = place.settings
    env = os.environ | {
        "HOLDFAST_DATABASE_URL": settings.database_url,
        "HOLDFAST_REDIS_URL": settings.redis_url.get_secret_value(),
        "HOLDFAST_STATE_DIR": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uvicorn", "--factory", "services.api.app:create_app", "--port", str(port),
        "--loop", "uvloop", "--http", "shared.runtime.heads:BoundedHttp", "--timeout-graceful-shutdown", "30",
        "--log-level", "warning", env=env,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{url}/healthz")).status_code == 200:
                        break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
        async with following(url, key, job) as one, following(url, key, job) as two:
            assert await one.next() is not None
            assert await two.next() is not None
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert (await one.rest(), await two.rest()) == ([], [])
                await process.wait()
        assert process.returncode in (0, -signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
