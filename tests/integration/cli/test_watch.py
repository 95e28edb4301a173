"""`holdfast jobs watch`: to the end, over a server that restarts, told once; and what cannot be watched."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import show
from holdfast import watch as watching
from holdfast.client import Client
from shared.kernel.ids import new_id
from shared.testing.servers import free_port
from tests.integration.api.test_events import LIMIT_S, Work, served
from tests.integration.api.test_jobs import make
from tests.integration.api.test_output import Pen
from tests.integration.cli.conftest import Said
from tests.integration.http.places import Place, on_one_database, place

__all__ = ["place"]
Run = Callable[..., Said]


@on_one_database
async def test_a_restart_in_the_middle_is_not_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key, work, (job,), port = await place.key(), Work(place), await make(place), free_port()
    monkeypatch.setattr(watching, "RECONNECT_S", 0.05)
    lines: list[Any] = []
    monkeypatch.setattr(show, "as_json", lines.append)

    async def until(name: str, value: object) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not any(line["data"].get(name) == value for line in lines):  # noqa: ASYNC110 - another thread's
                await asyncio.sleep(0.01)

    client = Client(f"http://127.0.0.1:{port}", key)
    async with served(place, port=port):
        running = asyncio.create_task(asyncio.to_thread(watching.watch, client, job, as_json=True))
        await until("state", "queued")
        held = await work.claim(job)
        await work.report(held, 0.5, "half")
        await until("fraction", 0.5)
    await work.report(held, 0.75, "while nobody served")
    async with served(place, port=port):
        await until("fraction", 0.75)
        await work.end(held)
        assert await asyncio.wait_for(running, LIMIT_S) == 0
    ids = [line["id"] for line in lines]
    assert len(ids) == len(set(ids))
    assert [line["event"] for line in lines] == ["state", "state", "progress", "progress", "state", "result"]
    assert lines[-1]["data"]["result"] == {"ok": True}


@on_one_database
@pytest.mark.parametrize("as_json", [True, False])
async def test_a_job_that_did_not_complete_is_exit_1(
    place: Place, holdfast: Run, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    (job,) = await make(place)
    await place.end([job])
    async with served(place) as app:
        monkeypatch.setenv("HOLDFAST_URL", app.url)
        monkeypatch.setenv("HOLDFAST_API_KEY", await place.key())
        said = await asyncio.to_thread(holdfast, "jobs", "watch", job, *(["--json"] if as_json else []))
        missing = await asyncio.to_thread(holdfast, "jobs", "watch", new_id("job"))
    assert said.code == 1
    if as_json:
        assert [json.loads(line)["event"] for line in said.out.splitlines()] == ["state", "result"]
    else:
        assert "dead" in said.out
        assert "it broke" in said.out
    assert (missing.code, "there is no job" in missing.sentence) == (1, True)


def test_nobody_there_is_exit_2_at_once(holdfast: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("HOLDFAST_API_KEY", "hf_" + "x" * 43)
    said = holdfast("jobs", "watch", new_id("job"))
    assert said.code == 2
    assert "does not answer" in said.sentence


async def test_the_bar_shows_what_handlers_say_whatever_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from shared.runtime.sse import Event

    console = Console(record=True, width=200, force_terminal=True)
    monkeypatch.setattr(show, "console", console)
    state = {"id": "job_1", "state": "running", "attempt": 1, "max_attempts": 3, "run_at": None}
    progress = {"id": "job_1", "attempt": 1, "fraction": 0.5, "note": "[/bold] half [red]"}
    result = {"id": "job_1", "task": "t", "state": "completed", "attempts": []}
    told = [Event("state", state), Event("progress", progress), Event("result", result)]
    monkeypatch.setattr(watching, "events_of", lambda *_: iter(told))
    assert watching.watch(Client("http://x", "k"), "job_1", as_json=False) == 0
    assert "completed" in console.export_text()


async def test_what_a_job_writes_is_printed_as_it_comes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from shared.runtime.sse import Event

    state = {"id": "job_1", "state": "running", "attempt": 1, "max_attempts": 3, "run_at": None}
    texts = [(1, 0, "Hello \x1b[31mred\x07"), (1, 6, " wor"), (2, 0, ""), (2, 0, "Hello "), (2, 6, "world\n½")]
    output = [Event("output", {"id": "job_1", "attempt": n, "offset": at, "text": text}) for n, at, text in texts]
    result = {"id": "job_1", "task": "t", "state": "completed", "attempts": []}
    told = [Event("state", state), *output, Event("result", result)]
    monkeypatch.setattr(watching, "events_of", lambda *_: iter(told))
    assert watching.watch(Client("http://x", "k"), "job_1", as_json=False) == 0
    said = capfd.readouterr().out
    assert "Hello [31mred wor\n--- attempt 2 begins anew ---\nHello world\n½\n\n" in said
    assert "\x07" not in said


@on_one_database
async def test_output_is_the_text_and_nothing_else(
    place: Place, holdfast: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key, work, (job,) = await place.key(), Work(place), await make(place)
    pen = Pen(work, await work.claim(job))
    await pen.write("Once ½ \x1b[31m")
    async with served(place) as app:
        monkeypatch.setenv("HOLDFAST_URL", app.url)
        monkeypatch.setenv("HOLDFAST_API_KEY", key)
        said = await asyncio.to_thread(holdfast, "jobs", "output", job)
        assert (said.code, said.out) == (0, "Once ½ [31m")
        following = asyncio.create_task(asyncio.to_thread(holdfast, "jobs", "output", job, "--follow"))
        await pen.lose()
        again = Pen(work, await work.claim(job))
        await again.write("Again")
        await work.end(again.held)
        said = await asyncio.wait_for(following, LIMIT_S)
        assert (said.code, said.out.endswith("Again")) == (0, True)
        assert "attempt" not in said.out
        missing = await asyncio.to_thread(holdfast, "jobs", "output", new_id("job"))
        assert (missing.code, missing.out) == (1, "")
