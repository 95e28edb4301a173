"""Who follows a job: looks in any order of their answers, and a row that never goes back."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from shared.kernel.clock import ManualClock
from shared.runtime import watch
from shared.runtime.watch import JobWatch


def row(state: str) -> dict[str, Any]:
    return {"state": state, "run_at": 0, "finished_at": None, "output_chunks": 0}


async def test_a_look_that_is_answered_late_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: asyncio.Queue[tuple[list[str], asyncio.Future[dict[str, Any]]]] = asyncio.Queue()

    async def read(_: Any, ids: list[str]) -> dict[str, Any]:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        await asked.put((ids, answer))
        return await answer

    monkeypatch.setattr(watch, "read_watched", read)
    database: Any = SimpleNamespace(clock=ManualClock(1))
    watcher = JobWatch(database, most=9, most_of_caller=9, look_s=0.001)
    first = asyncio.create_task(watcher.join("a", "key"))
    (await asked.get())[1].set_result({"a": row("queued")})
    await first
    _, before = await asked.get()
    joining = asyncio.create_task(watcher.join("b", "key"))
    ids, by_itself = await asked.get()
    assert ids == ["b"]
    before.set_result({"a": row("queued")})
    ids, of_the_look = await asked.get()  # begun while the other waits for its own
    by_itself.set_result({"b": row("running")})
    joined = await joining
    of_the_look.set_result({each: row("queued") for each in ids})
    (await asked.get())[1].cancel()  # the next look has begun: the one before has been told
    assert joined.row == row("running")
    await watcher.close()
