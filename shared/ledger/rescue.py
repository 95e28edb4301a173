"""Rescue: what the ledger takes back from those who can no longer finish it.

Running jobs of tombstoned incarnations go back (a proven crash is remembered against the job, a lost lease is not);
running jobs past their deadline end as timed out. Each is a fenced transition, so two rescuers do it once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.contracts.command import Command
from shared.db.engine import Database
from shared.ledger import states
from shared.ledger.states import Claim, Transition
from shared.ledger.store_claim import orphans, overdue
from shared.ledger.store_record import record
from shared.ledger.store_served import ServedTask, served_tasks

BATCH = 500
CRASH = "crash"  # a tombstone that begins with this word was set by somebody who knows that the process died


@dataclass
class Rescued:
    reasons: dict[str, int] = field(default_factory=dict)
    queues: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return sum(self.reasons.values())

    def add(self, reason: str, queue: str) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.queues.add(queue)


async def rescue(database: Database, commands: Mapping[str, type[Command]]) -> Rescued:
    """Take back everything that is due to be taken back, batch by batch."""
    rescued = Rescued()
    while True:
        now_us = database.clock.now_us()
        lost = [_take_back(claim, now_us, tombstone) for claim, tombstone in await orphans(database, BATCH)]
        claims = await overdue(database, now_us, BATCH)
        served = await served_tasks(database, {claim.task for claim in claims} - commands.keys())
        late = [_expire(claim, now_us, commands, served) for claim in claims]
        transitions = lost + late
        if not transitions:
            return rescued
        recorded = 0
        async with database.transaction() as connection:
            verdicts = await record(connection, transitions, sqlite=database.dialect == "sqlite", freed=rescued.queues)
        for transition, verdict in zip(transitions, verdicts, strict=True):
            if verdict == "recorded":
                recorded += 1
                rescued.add(transition.outcome or "released", transition.claim.queue)
        if not recorded or len(transitions) < BATCH:
            return rescued


def _take_back(claim: Claim, now_us: int, tombstone: str) -> Transition:
    if tombstone.startswith(CRASH):
        return states.crashed(claim, now_us, tombstone)
    return states.lost(claim, now_us, tombstone)


def _expire(
    claim: Claim, now_us: int, commands: Mapping[str, type[Command]], served: Mapping[str, ServedTask]
) -> Transition:
    """By the policy of its class, else of what its worker said, else of commands that say nothing."""
    known = commands.get(claim.task) or served.get(claim.task) or Command
    return states.overdue(claim, now_us, known.retry.delay_s(claim.attempt + 1))
