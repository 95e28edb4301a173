"""The commands of the simulated queue, and what their handlers do with their process, their time and their fence."""

import asyncio
from typing import ClassVar

from shared.contracts.command import Command, command_table
from shared.contracts.lane import LanePolicy
from shared.contracts.retry import RetryPolicy, Schedule
from shared.db.sql import Statement
from shared.ledger.store_accept import new_job
from shared.transport.attempt import Dead, Discard, Retry, current_attempt
from shared.transport.enqueue import enqueue_all
from tests.simulation.process import current_process

QUEUE = "sim"
INSERT_EFFECT = Statement("insert_effect", "INSERT INTO effect (job_id, fence, child) VALUES (:job, :fence, :child)")


class Work(Command):
    task: ClassVar[str] = "sim.work"
    queue: ClassVar[str] = QUEUE
    timeout_s: ClassVar[float] = 2.0
    retry: ClassVar[RetryPolicy] = Schedule(delays_s=(0.4, 1.5), jitter=0.2)
    lanes: ClassVar[LanePolicy] = LanePolicy(grouped=True)
    kind: str = "plain"
    seconds: float = 0.0
    times: int = 1


COMMANDS = command_table(Work)


async def run(command: Work):
    attempt, process = current_attempt.get(), current_process.get()
    witness = process.world.witness
    await process.awake()
    process.world.note(process, "begin", (attempt.job_id, attempt.claim.fence, command.kind))
    witness.handler_begins(process, attempt.claim)
    try:
        return await KINDS[command.kind](command, attempt, process)
    finally:
        witness.handler_ends(attempt.claim)


async def plain(command, attempt, process):
    await process.work(command.seconds)
    return {"fence": attempt.claim.fence}


async def failing(command, attempt, process):
    await process.work(command.seconds)
    if attempt.number <= command.times:
        raise ValueError(f"attempt {attempt.number} fails")
    return {"fence": attempt.claim.fence}


async def retrying(command, attempt, process):
    if attempt.number <= command.times:
        raise Retry(1.0)
    return await plain(command, attempt, process)


async def dead(command, attempt, process):
    raise Dead("no use")


async def discarded(command, attempt, process):
    raise Discard("not wanted")


async def hanging(command, attempt, process):
    """Past its timeout; the worker cancels it."""
    await process.work(30.0)


async def stubborn(command, attempt, process):
    """Ignores being cancelled, until long after the ledger's deadline."""
    until_s = process.clock.monotonic_s() + attempt.claim.timeout_s + 12.0
    while (left_s := until_s - process.clock.monotonic_s()) > 0:
        try:
            await process.work(left_s)
        except asyncio.CancelledError:
            if process.world.over:
                raise
    return {"fence": attempt.claim.fence}


async def in_tx(command, attempt, process):
    """Effects, a child job and the completion in one commit."""
    await process.work(command.seconds)
    async with attempt.tx() as tx:
        child = new_job(Work(kind="child"), tenant="t1", now_us=tx.now_us)
        process.world.kinds[child.id] = "child"
        await enqueue_all(tx, [child])
        values = {"job": attempt.job_id, "fence": attempt.claim.fence, "child": child.id}
        await tx.fetch(INSERT_EFFECT, values)
        attempt.result = {"fence": attempt.claim.fence}


async def poison(command, attempt, process):
    """Its process dies under it."""
    await process.work(command.seconds)
    process.die()
    await process.awake()


KINDS = {
    "plain": plain, "child": plain, "tick": plain, "failing": failing, "retrying": retrying, "dead": dead,
    "discarded": discarded, "hanging": hanging, "stubborn": stubborn, "tx": in_tx, "poison": poison,
}  # fmt: skip


class Tasks:
    """What the executor asks of a broker."""

    commands = COMMANDS
    middlewares = ()
    dependency_overrides: ClassVar[dict] = {}
    original_func = staticmethod(run)

    def find_task(self, name):
        return self if name == Work.task else None
