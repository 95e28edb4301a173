"""Decisions about dead letters: by ids or by what matches, edited, or a canary first; each kept with who made it.

What is done and its record are one transaction, bounded by DECIDE_LIMIT letters. Refuses arguments that the command's
class does not take. Reads and writes the caller's tenant only.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.api.canary import WAIT_S
from services.api.edits import checked_args
from shared.contracts.commands.api import RetryRest
from shared.db.tx import Tx
from shared.kernel.clock import after_us
from shared.ledger import store_dead
from shared.ledger.store_action import note_action
from shared.ledger.store_dead import known_states, retry_jobs
from shared.ledger.store_inbox import Matching, dead_matching, edit_dead
from shared.runtime.resources import Resources
from shared.transport.enqueue import enqueue

Decide = Callable[[Tx, str, Sequence[str], int], Awaitable[dict[str, str]]]
BATCHES_MOST = 200  # of one attempt of the follow-up; the next one goes on
ARGS_KEPT_BYTES = 16 * 1024  # of the arguments of before, for each letter that was edited


@dataclass(frozen=True, slots=True)
class Decided:
    done: Mapping[str, str]  # each with its queue
    more: bool = False
    unknown: Sequence[str] = ()
    not_dead: Sequence[str] = ()
    edited: Mapping[str, Any] = field(default_factory=dict)

    def counts(self) -> dict[str, Any]:
        return {"more": self.more, "unknown": list(self.unknown), "not_dead": list(self.not_dead)}


async def decide(
    tx: Tx, tenant: str, matching: Matching, decision: Decide, *, args: dict[str, Any] | None = None
) -> Decided:
    """The first DECIDE_LIMIT of what matches; of ids each is accounted for."""
    if matching.ids is None:
        ids, more = await dead_matching(tx, tenant, matching, store_dead.DECIDE_LIMIT)
        return Decided(await decision(tx, tenant, ids, tx.now_us) if ids else {}, more)
    wanted = list(dict.fromkeys(matching.ids))
    known = await known_states(tx, tenant, wanted)
    edited = await _edit(tx, tenant, wanted, args) if args is not None else {}
    done = await decision(tx, tenant, wanted, tx.now_us)
    left = [job_id for job_id in wanted if job_id not in done]
    return Decided(
        done,
        unknown=[job_id for job_id in left if job_id not in known],
        not_dead=[job_id for job_id in left if job_id in known],
        edited=edited,
    )


async def note(tx: Tx, tenant: str, *, by: str, action: str, target: Mapping[str, Any], decided: Decided) -> None:
    outcome: dict[str, Any] = {"count": len(decided.done), "ids": sorted(decided.done), "more": decided.more}
    if decided.edited:
        outcome["edited"] = decided.edited
    one = next(iter(decided.done)) if len(decided.done) == 1 else None
    await note_action(
        tx, tenant=tenant, caller=by, action=action, at_us=tx.now_us, job_id=one, target=target, outcome=outcome
    )


async def start_canary(
    tx: Tx, tenant: str, matching: Matching, count: int, *, by: str, target: Mapping[str, Any]
) -> tuple[str, list[str]] | None:
    """Retry `count` of them now; a job that follows up the rest, and the canaries. None when nothing matches."""
    wanted = matching.until(tx.now_us)
    ids, _ = await dead_matching(tx, tenant, wanted, count)
    done = await retry_jobs(tx, tenant, ids, tx.now_us) if ids else {}
    if not done:
        return None
    canaries = sorted(done)
    rest = RetryRest(
        canaries=tuple(canaries), ids=wanted.ids, of_task=wanted.task, of_queue=wanted.queue,
        fingerprint=wanted.fingerprint, until_us=tx.now_us, wait_until_us=after_us(tx.now_us, WAIT_S),
    )  # fmt: skip
    job_id = await enqueue(tx, rest, tenant=tenant)
    tx.touched.update(done.values())
    outcome = {"count": len(canaries), "ids": canaries, "follow_up": job_id}
    await note_action(
        tx, tenant=tenant, caller=by, action="canary", at_us=tx.now_us, target={**target, "canary": count},
        outcome=outcome,
    )  # fmt: skip
    return job_id, canaries


async def retry_batches(resources: Resources, tenant: str, matching: Matching, *, by: str) -> tuple[int, bool]:
    """How many are on their way again, and whether BATCHES_MOST left some; each batch commits with its record."""
    retried = 0
    for _ in range(BATCHES_MOST):
        async with resources.tx() as tx:
            ids, more = await dead_matching(tx, tenant, matching, store_dead.DECIDE_LIMIT)
            done = await retry_jobs(tx, tenant, ids, tx.now_us) if ids else {}
            tx.touched.update(done.values())
            if done:
                await note(tx, tenant, by=by, action="retry", target={"follow_up": by}, decided=Decided(done, more))
        retried += len(done)
        if not more:
            return retried, False
    return retried, True


async def _edit(tx: Tx, tenant: str, ids: Sequence[str], args: dict[str, Any]) -> dict[str, Any]:
    """Give those that are dead other arguments; what the record keeps of it."""
    before = await edit_dead(tx, tenant, ids, lambda task: checked_args(tx, task, args))
    if not before:  # nothing was edited, and nobody has looked at the arguments
        return {}
    kept = {
        job_id: orjson.loads(old) if len(old) <= ARGS_KEPT_BYTES else f"{len(old)} characters"
        for job_id, old in before.items()
    }
    return {"args": args, "args_before": kept}
