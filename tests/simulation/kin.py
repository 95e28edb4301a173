"""Unique enqueues and families in some of the worlds, and what must hold of them whatever happens.

Never two that wait under one key, and who is told of another job is told of one that has not started. What waits for
others starts after each of them has ended, and ends itself. All of it is drawn from a chance of its own, so that the
other worlds stay what they are.
"""

import asyncio
from dataclasses import replace
from random import Random

from shared.contracts.unique import Unique
from shared.db.sql import Statement
from shared.kernel.ids import new_id
from shared.ledger.audit import CHECKS
from shared.ledger.store_accept import accept, new_job
from shared.ledger.store_unique import accept_unique
from tests.simulation.database import SimDatabase
from tests.simulation.process import Process
from tests.simulation.work import Work

KEYS = ("a", "b")
_OURS = (
    "key_of_what_does_not_wait", "waits_for_other_than_its_children", "started_before_its_children",
    "done_and_not_counted",
)  # fmt: skip
_ON_DEAD = Statement("on_dead", "UPDATE job SET on_dead = :on_dead WHERE id = :id")
_TWICE = """SELECT unique_key FROM job WHERE state IN ('ready', 'dispatched') AND unique_key IS NOT NULL
             GROUP BY unique_key HAVING count(*) > 1"""


class Kin:
    def __init__(self, world) -> None:
        self._world = world
        self._random = Random(world.seed * 7919 + 1)
        self.families = {}  # what waits → its children
        self.done = set()  # whoever has ever ended

    @classmethod
    def of(cls, world):
        return cls(world) if world.seed % 3 == 0 else None

    async def ask(self):
        """Every request of this world, one after the other; one whose answer is lost may have been granted."""
        caller = Process(self._world, "kin", killable=False)
        database = SimDatabase(caller)
        for _ in range(self._random.randint(3, 8)):
            await asyncio.sleep(self._random.uniform(0.0, self._world.plan.chaos_s / 6))
            try:
                await (self._family(database) if self._random.random() < 0.3 else self._unique(database))
            except ConnectionError:
                continue

    async def _unique(self, database):
        rule = Unique(key=self._random.choice(KEYS), on_conflict=self._random.choice(["keep", "replace"]))
        seconds = self._random.choice([0.0, 0.3])
        job = new_job(Work(seconds=seconds), tenant="t1", now_us=database.clock.now_us(), unique=rule)
        self._world.kinds[job.id] = "plain"
        async with database.transaction() as connection:
            (found,) = await accept_unique(connection, [job])
            state = await connection.fetch(Statement("state", "SELECT state FROM job WHERE id = :id"), {"id": found.id})
            if state[0]["state"] not in ("ready", "dispatched"):
                self._world.fail(AssertionError(f"{found} stands for a job that is {state[0]['state']}"))
        self._world.count(f"unique_{found.what}")
        self._world.acknowledged.add(found.id)

    async def _family(self, database):
        now_us = database.clock.now_us()
        kinds = self._random.choices(("plain", "failing", "dead", "discarded"), k=self._random.randint(1, 3))
        waiting = replace(new_job(Work(), tenant="t1", now_us=now_us), waits_for=len(kinds))
        children = [new_job(Work(kind=kind, times=1), tenant="t1", now_us=now_us, parent=waiting.id) for kind in kinds]
        self.families[waiting.id] = {child.id for child in children}
        self._world.kinds |= {waiting.id: "plain", **{c.id: k for c, k in zip(children, kinds, strict=True)}}
        async with database.transaction() as connection:
            await accept(connection, [waiting, *children], tally_id=new_id("tly"))
            on_dead = self._random.choice(["run", "cancel"])  # one that waits for a person would wait for ever here
            await connection.fetch(_ON_DEAD, {"id": waiting.id, "on_dead": on_dead})
        self._world.count("families")
        self._world.acknowledged |= {waiting.id, *self.families[waiting.id]}

    def began(self, job):
        """A claim has committed; returns what is wrong with it."""
        early = self.families.get(job, set()) - self.done
        if job in self.families:
            self._world.count("follow_ups")
        return f"{job} starts before {sorted(early)} have ended" if early else None

    def committed(self):
        twice = self._world.ledger.query(_TWICE)
        return f"two wait under {twice[0]['unique_key']}" if twice else None

    def judge(self):
        for name in _OURS:
            broken = [row["id"] for row in self._world.ledger.query(CHECKS[name])]
            if broken:
                self._world.witness.fail(f"{name}: {broken}")
