"""Families: `enqueue_family` accepts jobs together with the one that is to run when all of them are done.

    async with resources.tx() as tx:
        family = await enqueue_family(tx, then=BindBook(...), children=[PrintPage(...), ...], tenant=tenant)

Everything is in the caller's transaction. The follow-up's handler reads `await attempt.children()`. What counts as done
is said in `shared.ledger.store_family`. Refuses unique children: one job cannot be waited for by two families.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shared.contracts.command import Command
from shared.db.sql import Statement
from shared.db.tx import Tx
from shared.kernel.errors import BadInput
from shared.ledger.store_accept import new_job
from shared.transport.enqueue import enqueue_all

CHILDREN_MOST = 1_000
OnDead = Literal["wait", "run", "cancel"]
_SET_ON_DEAD = Statement("set_on_dead", "UPDATE job SET on_dead = :on_dead WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Family:
    id: str  # of the job that waits
    children: tuple[str, ...]  # in the order in which they were given


async def enqueue_family(
    tx: Tx,
    *,
    then: Command,
    children: Sequence[Command],
    tenant: str,
    run_at: int | None = None,
    on_dead: OnDead = "wait",
) -> Family:
    """`then` runs once, after every child is done and not before `run_at` (µs); at once when there are no children.

    `on_dead` says what a dead child means: `wait` for a person's decision, `run` all the same, or `cancel` what waits.
    """
    if len(children) > CHILDREN_MOST:
        raise BadInput(f"{len(children)} children, the limit is {CHILDREN_MOST}", pointer="/children")
    if then.unique is not None or any(child.unique is not None for child in children):
        raise BadInput("a unique command may stand for a job that is there already: it cannot be of a family")
    waiting = replace(new_job(then, tenant=tenant, now_us=tx.now_us, run_at=run_at), waits_for=len(children))
    jobs = [new_job(child, tenant=tenant, now_us=tx.now_us, parent=waiting.id) for child in children]
    await enqueue_all(tx, [waiting, *jobs])
    if on_dead != "wait":
        await tx.fetch(_SET_ON_DEAD, {"id": waiting.id, "on_dead": on_dead})
    return Family(waiting.id, tuple(job.id for job in jobs))
