"""What a pump takes for its own when a claim's answer was lost: what became its in that claim, and nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from shared.kernel.clock import SystemClock
from shared.ledger import states
from shared.ledger.states import Claim
from shared.transport import pump as module
from shared.transport.pump import Pump

HELD = Claim("job_1", "lab.do", "{}", "acme", "lab", 1, "inc_1", 0, 3, 0, 0, 5.0, 1, 2)


class Away:
    """A database that does not answer until it is back: what is to be recorded waits."""

    dialect = "postgres"
    clock = SystemClock()

    def __init__(self) -> None:
        self.back = asyncio.Event()

    async def fetch(self, *_: Any) -> list[Any]:
        await self.back.wait()
        return []


@pytest.fixture
async def pump(monkeypatch: pytest.MonkeyPatch) -> Pump:
    answers: list[Any] = [ConnectionError("the answer was lost"), []]

    async def claim(*_: Any) -> list[Claim]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    async def own_running(*_: Any) -> list[Claim]:
        return [HELD]

    monkeypatch.setattr(module, "claim", claim)
    monkeypatch.setattr(module, "own_running", own_running)
    away: Any = Away()
    nothing: Any = SimpleNamespace()
    return Pump(
        queue="lab", database=away, redis=nothing, executor=nothing, life=nothing, capacity=1, drain_limit_s=1.0,
        wake=lambda *_: None,
    )  # fmt: skip


async def test_what_the_lost_answer_gave_is_found(pump: Pump) -> None:
    assert await pump._claim([HELD.id]) == [HELD]


async def test_what_has_run_here_and_waits_to_be_recorded_is_not_run_again(pump: Pump) -> None:
    """A duplicated entry of it was claimed meanwhile; in the ledger it still runs, under the very same fence."""
    recording = asyncio.create_task(pump._recorder.record(states.completed(HELD, 3, started_at=2, result=None)))
    await asyncio.sleep(0)  # it has begun
    assert pump._recorder.unrecorded
    try:
        assert await pump._claim([HELD.id]) == []
    finally:
        pump._database.back.set()
        await recording
