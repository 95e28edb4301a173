"""Ways into the ledger: `kiq`, on its own and inside a Tx, `enqueue(tx, …)`; what rolls back leaves nothing."""

from __future__ import annotations

import pytest
from taskiq.exceptions import ResultIsReadyError, SendTaskError

from shared.contracts.command import Command
from shared.db.tx import open_tx
from shared.kernel.errors import Misconfigured
from shared.kernel.settings import CoreSettings
from shared.transport.broker import HoldfastBroker, JobFailed
from shared.transport.enqueue import enqueue
from tests.integration.engine.engine import COMMANDS, QUEUE, Do, Engine


class Undone(Exception):
    """Rolls a Tx back."""


async def double(command: Do) -> dict[str, int]:
    return {"doubled": 2 * command.number}


async def rows_and_tally(engine: Engine) -> tuple[int, int]:
    (jobs,) = await engine.rows("SELECT count(*) AS n FROM job")
    (tally,) = await engine.rows("SELECT coalesce(sum(accepted), 0) AS n FROM job_tally")
    return int(jobs["n"]), int(tally["n"])


async def test_kiq_is_durable_when_it_returns_and_its_result_can_be_awaited(engine: Engine) -> None:
    engine.handle(Do, double)
    task = await engine.kiq(Do(number=21))
    (row,) = await engine.rows("SELECT * FROM job")
    assert (row["id"], row["state"], row["task"], row["tenant"]) == (task.task_id, "ready", "lab.do", "default")
    assert not await task.is_ready()
    await engine.start()
    result = await task.wait_result(check_interval=0.01, timeout=20)
    assert (result.is_err, result.return_value) == (False, {"doubled": 42})
    assert result.execution_time >= 0


async def test_the_result_of_what_failed_says_why(engine: Engine) -> None:
    async def broken(_: Do) -> None:
        raise LookupError("nothing there")

    engine.handle(Do, broken)
    await engine.start()
    result = await (await engine.kiq(Do())).wait_result(check_interval=0.01, timeout=20)
    assert result.is_err
    with pytest.raises(JobFailed, match="LookupError: nothing there"):
        result.raise_for_error()


async def test_kiq_takes_tenant_and_time_as_labels(engine: Engine) -> None:
    engine.handle(Do, double)
    task = engine.broker.find_task("lab.do")
    later_us = engine.database.clock.now_us() + 3_600_000_000
    await task.kicker().with_labels(tenant="acme", run_at=later_us).kiq(Do())
    (row,) = await engine.rows("SELECT * FROM job")
    assert (row["tenant"], row["run_at"]) == ("acme", later_us)


async def test_kiq_inside_a_tx_commits_with_it(engine: Engine) -> None:
    engine.handle(Do, double)
    await engine.start()
    async with engine.resources.tx():
        task = await engine.kiq(Do(number=4))
        assert await engine.rows("SELECT id FROM job") == [], "it was visible before its Tx committed"
    result = await task.wait_result(check_interval=0.01, timeout=20)
    assert result.return_value == {"doubled": 8}


async def test_kiq_inside_a_tx_rolls_back_with_it(engine: Engine) -> None:
    engine.handle(Do, double)
    with pytest.raises(Undone):  # noqa: PT012 - the block is what rolls back
        async with engine.resources.tx():
            await engine.kiq(Do())
            raise Undone
    assert await rows_and_tally(engine) == (0, 0)


async def test_waiting_for_a_result_inside_a_tx_is_refused(engine: Engine) -> None:
    """It would wait for a job that nobody can see before the Tx ends."""
    engine.handle(Do, double)
    async with open_tx(engine.database):
        task = await engine.kiq(Do())
        with pytest.raises(ResultIsReadyError) as refused:
            await task.wait_result(check_interval=0.01, timeout=2)
    assert "inside an open Tx" in str(refused.value.__cause__)


async def test_an_enqueue_that_rolls_back_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(Undone):  # noqa: PT012 - the block is what rolls back
        async with engine.resources.tx() as tx:
            for number in range(3):
                await enqueue(tx, Do(number=number), tenant="acme")
            raise Undone
    assert await rows_and_tally(engine) == (0, 0)
    ids = await engine.enqueue(Do(), Do())
    assert len(set(ids)) == 2
    assert await rows_and_tally(engine) == (2, 2)


async def test_kiq_refuses_what_is_no_command(engine: Engine) -> None:
    async def stray(number: int) -> None: ...

    task = engine.broker.register_task(stray, task_name="lab.stray")
    with pytest.raises(SendTaskError) as refused:
        await task.kiq(1)
    assert "no command is named lab.stray" in str(refused.value.__cause__)
    engine.handle(Do, double)
    with pytest.raises(SendTaskError) as refused:
        await engine.broker.find_task("lab.do").kiq()
    assert "takes one Do, positionally" in str(refused.value.__cause__)
    assert await rows_and_tally(engine) == (0, 0)


async def test_kiq_before_the_lifespan_is_refused(engine: Engine) -> None:
    broker = HoldfastBroker(engine.resources.settings, QUEUE, COMMANDS).bind({Do: double})
    with pytest.raises(SendTaskError) as refused:
        await broker.find_task("lab.do").kiq(Do())
    assert "start the app's lifespan" in str(refused.value.__cause__)


def test_handlers_that_would_block_the_loop_are_refused_at_bind() -> None:
    def counts(command: Do) -> int:
        return sum(range(command.number))

    broker = HoldfastBroker(CoreSettings(), QUEUE, COMMANDS)
    tasks: dict[type[Command], object] = {Do: counts}
    with pytest.raises(Misconfigured, match=r"lab\.do: handlers are async"):
        broker.bind(tasks)
