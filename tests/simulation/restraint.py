"""What holds jobs back in a simulated run: pauses by people, holds and ceilings by a service, limits of lanes.

In the time of troubles a relay may not have heard of a pause, a hold or a ceiling; once everything is well and it must
have, nothing that is held back may be dispatched. Pauses are ended then; holds end by themselves, ceilings stay.
"""

import asyncio

from shared.contracts.lane import FREE, group_of
from shared.kernel.clock import after_us
from shared.ledger import store_limits, store_pause
from shared.ledger.store_lane import BOUND
from shared.transport.wake import CONFIG
from tests.simulation.witness import Violation
from tests.simulation.work import QUEUE, Work

HEARD_S = 12.0  # after healing, until a relay must have read what is paused: a new one, and its first reconcile
HELD_S = 3.0
TENANT = "t1"


class Restraint:
    def __init__(self, world) -> None:
        self._world = world
        self._ledger = world.ledger
        self._policies = world.plan.lanes
        self.heard = False  # a relay must know of all of it

    def open(self, now_us):
        for name, policy in self._policies.items():
            self._ledger.execute(store_limits.PUT, {**self._lane(name), "now": now_us, **policy.model_dump()})

    # What must hold

    def policy_of(self, lane):
        """A lane without limits of its own: of an ordered group, it is ordered."""
        if lane is None:
            return FREE
        group = self._policies.get(group_of(lane))
        return self._policies.get(lane) or (Work.lanes.model_copy(update={"ordered": True}) if group and group.ordered
                                            else Work.lanes)  # fmt: skip

    def limits_of(self, lane):
        """[(whose jobs, how many of them may be under way)]: of the lane, and of the group that it stands in."""
        group = group_of(lane) if lane is not None else None
        limits = [(lane, self.policy_of(lane).limit), (group, self._policies.get(group, FREE).concurrency)]
        if self.heard:
            limits += [(name, self._row(name)["ceiling"]) for name in (lane, group) if self._row(name)]
        return [(name, most) for name, most in limits if name is not None and most is not None]

    def is_held(self, job):
        """By a pause, or by a hold that is over for nobody, whatever their clocks say."""
        return self._is_held(job, self._world.clock.now_us() + self._world.tolerance_us)

    def may_be_held(self, job):
        """By a pause, or by a hold that is not over yet for somebody, whose clock is late."""
        return self._is_held(job, self._world.clock.now_us() - self._world.tolerance_us)

    def _is_held(self, job, by_us):
        if self._queue_is_paused():
            return True
        lane = self._world.lane_of(job)
        rows = [self._row(name) for name in (lane, group_of(lane) if lane else None) if name is not None]
        return any(row and (row["paused_at"] is not None or row["held_until"] > by_us) for row in rows)

    # What is done

    def pause_lane(self):
        if self._policies:
            name = self._world.random.choice(sorted(self._policies))
            self._ledger.execute(store_limits.PAUSE, {**self._lane(name), "now": self._world.clock.now_us()})
            self._tell()

    def resume_lane(self):
        for name in self._paused_lanes():
            self._ledger.execute(store_limits.RESUME, self._lane(name))
        self._tell()

    def pause_queue(self):
        values = {"queue": QUEUE, "caller": "key_sim", "now": self._world.clock.now_us()}
        self._ledger.execute(store_pause.PAUSE, values)
        self._tell()

    def resume_queue(self):
        self._ledger.execute(store_pause.RESUME, {"queue": QUEUE})
        self._tell()

    def hold_lane(self):
        random = self._world.random
        self._bound(random.uniform(0.2, 4.0), random.choice([None, None, 1, 2]))

    def _bound(self, seconds, ceiling):
        if self._policies:
            name = self._world.random.choice(sorted(self._policies))
            now_us = self._world.clock.now_us()
            row = (QUEUE, TENANT, name, after_us(now_us, seconds), "it fails", ceiling, now_us)
            self._ledger.execute(BOUND, None, [row])
            self._tell()

    async def end(self, until):
        """What is still held back is so for a while when nothing fails any more, and goes on after that."""
        if self._world.random.random() < 0.5:
            self._bound(HEARD_S + HELD_S, self._world.random.choice([None, 1]))
        paused = self._paused_lanes()
        if self._queue_is_paused() or paused or self._any_bound():
            await until()
            await asyncio.sleep(HEARD_S)
            for row in self._ledger.query("SELECT id FROM job WHERE state = 'dispatched'"):
                if self.is_held(row["id"]):
                    self._world.fail(Violation(f"{row['id']} is in the window, and is held back"))
            self.heard = True
            self._world.count("held")
            await asyncio.sleep(HELD_S)
        self._ledger.execute(store_pause.RESUME, {"queue": QUEUE})
        for name in paused:
            self._ledger.execute(store_limits.RESUME, self._lane(name))
        self._world.published(CONFIG)

    def _tell(self):
        self._world.loop.call_later(0.001, self._world.published, CONFIG)

    def _lane(self, name):
        return {"queue": QUEUE, "tenant": TENANT, "name": name}

    def _row(self, name):
        found = self._ledger.query("SELECT * FROM lane WHERE name = ?", name)
        return found[0] if found else None

    def _any_bound(self):
        return bool(self._ledger.query("SELECT 1 FROM lane WHERE held_until > 0 OR ceiling IS NOT NULL"))

    def _queue_is_paused(self):
        return bool(self._ledger.query("SELECT 1 FROM queue_pause"))

    def _paused_lanes(self):
        return [row["name"] for row in self._ledger.query("SELECT name FROM lane WHERE paused_at IS NOT NULL")]
