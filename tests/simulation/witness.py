"""The invariants. Triggers report every change of a job the moment it is written; each is judged when it commits.

The witness knows what no single process knows: which process is behind an incarnation, whether it is dead or merely
silent, and which handlers really started under which fence.
"""

from dataclasses import dataclass, field

import orjson

from shared.ledger.states import MAX_RELEASES, POISON_CRASHES, SUSPECT_CRASHES, TERMINAL

_COLUMNS = (
    "state", "fence", "incarnation", "attempt", "max_attempts", "crashes", "releases", "run_at", "claimed_at",
    "result", "error_type", "cancel_requested_at",
)  # fmt: skip
_PAIRS = ", ".join(f"old.{name}, new.{name}" for name in _COLUMNS)
TRIGGERS = (
    f"""CREATE TRIGGER sim_job AFTER UPDATE ON job BEGIN
        SELECT sim_changed(new.id, (SELECT tombstone FROM incarnation
                                     WHERE id = coalesce(new.incarnation, old.incarnation)), {_PAIRS}); END""",
    "CREATE TRIGGER sim_new AFTER INSERT ON job BEGIN SELECT sim_accepted(new.id); END",
    "CREATE TRIGGER sim_gone AFTER DELETE ON job BEGIN SELECT sim_deleted(old.id); END",
    """CREATE TRIGGER sim_attempt AFTER INSERT ON job_attempt BEGIN
        SELECT sim_attempted(new.job_id, new.fence, new.incarnation, new.outcome); END""",
)
_LEGAL = {
    ("ready", "dispatched"), ("dispatched", "ready"), ("dispatched", "running"), ("running", "ready"),
    ("running", "completed"), ("running", "dead"), ("running", "cancelled"),
    ("ready", "cancelled"), ("dispatched", "cancelled"), ("dead", "ready"),
}  # fmt: skip


def mute(raw):
    """Let the triggers speak to nobody."""
    for name, count in (("sim_changed", 2 + 2 * len(_COLUMNS)), ("sim_accepted", 1), ("sim_deleted", 1)):
        raw.create_function(name, count, lambda *_: None)


class Violation(AssertionError):
    """A promise was broken."""


@dataclass
class Change:
    job: str
    tombstone: str | None
    old: dict
    new: dict


@dataclass
class Witness:
    world: object
    open: set = field(default_factory=set)  # committed and not terminal
    accepted: set = field(default_factory=set)
    holders: dict = field(default_factory=dict)  # incarnation → process
    claims: dict = field(default_factory=dict)  # (job, fence) → (incarnation, claimed when)
    started: dict = field(default_factory=dict)  # (job, fence) → process
    active: dict = field(default_factory=dict)  # (job, fence) → process, while the handler runs
    completions: dict = field(default_factory=dict)
    reopened: set = field(default_factory=set)  # dead letters that somebody has brought back: older than they stand
    under_way: dict = field(default_factory=dict)  # lane or group → jobs that are dispatched or running
    _waiting: list = field(default_factory=list)

    def attach(self, raw):
        raw.create_function("sim_changed", 2 + 2 * len(_COLUMNS), self._changed)
        raw.create_function("sim_accepted", 1, lambda job: self._waiting.append(("accepted", job)))
        raw.create_function("sim_deleted", 1, lambda job: self._waiting.append(("deleted", job)))
        raw.create_function("sim_attempted", 4, lambda *values: self._waiting.append(("attempted", values)))

    def _changed(self, job, tombstone, *values):
        old = dict(zip(_COLUMNS, values[::2], strict=True))
        new = dict(zip(_COLUMNS, values[1::2], strict=True))
        self._waiting.append(("changed", Change(job, tombstone, old, new)))

    def rolled_back(self):
        self._waiting.clear()

    def committed(self):
        waiting, self._waiting = self._waiting, []
        for kind, what in waiting:
            getattr(self, f"_on_{kind}")(what)

    def fail(self, words):
        self.world.fail(Violation(words))

    # What is seen in the ledger

    def _on_accepted(self, job):
        self.accepted.add(job)
        self.open.add(job)

    def _on_deleted(self, job):
        self.fail(f"{job} was deleted")

    def _on_attempted(self, values):
        job, fence, incarnation, outcome = values
        if self.claims.get((job, fence), (None,))[0] != incarnation:
            self.fail(f"{job} has an attempt {fence} of {incarnation}, which did not hold that fence")
        if outcome == "completed":
            self.completions[job] = self.completions.get(job, 0) + 1
            if self.completions[job] > 1:
                self.fail(f"{job} was completed twice")

    def _on_changed(self, change):
        old, new, job = change.old, change.new, change.job
        if old["state"] == new["state"]:
            if old["fence"] != new["fence"] or old["incarnation"] != new["incarnation"]:
                self.fail(f"{job}: its holder changed while it stayed {new['state']}")
            return
        if (old["state"], new["state"]) not in _LEGAL:
            self.fail(f"{job} went from {old['state']} to {new['state']}")
        self._moved(job, old["state"], new["state"])
        if new["state"] == "running":
            self._claimed(change)
        elif new["fence"] != old["fence"]:
            self.fail(f"{job}: its fence went from {old['fence']} to {new['fence']} on the way to {new['state']}")
        if old["state"] == "running":
            self._left(change)
        came_back = (old["state"], new["state"]) == ("dispatched", "ready")
        if came_back and self.world.plan.calm and not self.world.restraint.may_be_held(job):
            self.fail(f"{job} was published and nobody could have it, though nothing failed")
        (self.open.discard if new["state"] in TERMINAL else self.open.add)(job)
        if self.world.kin is not None and new["state"] in TERMINAL:
            self.world.kin.done.add(job)

    def _moved(self, job, old, new):
        if new == "dispatched":
            self._dispatched(job)
        elif new != "running":
            for under_way in self.under_way.values():
                under_way.discard(job)
        if old == "dead":
            self.reopened.add(job)

    def _dispatched(self, job):
        restraint, lane = self.world.restraint, self.world.lane_of(job)
        if restraint.heard and restraint.is_held(job):
            self.fail(f"{job} was dispatched, and is held back")
        for name, most in restraint.limits_of(lane):
            self.world.count("in_lane" if name == lane else "in_group")
            under_way = self.under_way.setdefault(name, set())
            under_way.add(job)
            if len(under_way) > most and not self.world.two_relays:  # two that both believe in their lock may fill it
                self.fail(f"{job} is one too many of {sorted(under_way)} in {name}, where {most} may be under way")
        if restraint.policy_of(lane).ordered:
            self._in_order(job, lane)

    def _in_order(self, job, lane):
        self.world.count("in_ordered_lane")
        older = {one for one in self.open if self.world.lane_of(one) == lane and one < job} - self.reopened
        if older and not self.world.two_relays:
            self.fail(f"{job} goes before {sorted(older)} in the ordered lane {lane}")

    def _claimed(self, change):
        new, job, now_us = change.new, change.job, self.world.clock.now_us()
        if new["fence"] != change.old["fence"] + 1:
            self.fail(f"{job}: a claim took the fence from {change.old['fence']} to {new['fence']}")
        if change.tombstone is not None:
            self.fail(f"{job} was claimed for {new['incarnation']}, which was declared dead: {change.tombstone}")
        if now_us < new["run_at"] - self.world.tolerance_us:
            self.fail(f"{job} starts {(new['run_at'] - now_us) / 1e6:.3f} s before its run_at")
        if self.world.kin is not None and (wrong := self.world.kin.began(job)):
            self.fail(wrong)
        self.claims[job, new["fence"]] = (new["incarnation"], now_us)

    def _left(self, change):
        old, new, job = change.old, change.new, change.job
        key, process = (job, old["fence"]), self.holders.get(old["incarnation"])
        if new["crashes"] != old["crashes"]:
            if new["crashes"] != old["crashes"] + 1:
                self.fail(f"{job}: crashes went from {old['crashes']} to {new['crashes']}")
            if process is None or process.alive:
                self.fail(f"{job} was charged with a crash of {old['incarnation']}, whose process is alive")
        if not 0 <= new["attempt"] - old["attempt"] <= 1 or new["attempt"] > new["max_attempts"]:
            self.fail(f"{job}: attempts went from {old['attempt']} to {new['attempt']} of {new['max_attempts']}")
        if new["attempt"] > old["attempt"] and key not in self.started and self._untroubled(process, key):
            self.fail(f"{job}: attempt {new['attempt']} was spent and its handler was never started")
        given_back = new["releases"] > old["releases"] and change.tombstone is None
        if given_back and key in self.active and process is not None and process.alive:
            self.fail(f"{job} was given back while its handler runs under fence {old['fence']}")
        if new["releases"] > MAX_RELEASES:
            self.fail(f"{job} was given back {new['releases']} times")
        if new["state"] == "completed" and orjson.loads(new["result"])["fence"] != old["fence"]:
            self.fail(f"{job} was completed under fence {old['fence']} with the result {new['result']}")
        if new["error_type"] == "poison" and not self._may_be_poison(job, new["crashes"]):
            self.fail(f"{job} was called poison, and is innocent")

    def _untroubled(self, process, key):
        """Nothing kept this process from working since the claim, so nothing excuses it."""
        if process is None or not process.alive or process.stopped:
            return False
        return process.trouble_us <= self.claims[key][1]

    def _may_be_poison(self, job, crashes):
        if self.world.kind_of(job) == "poison":
            return crashes == POISON_CRASHES
        return self.world.kills >= POISON_CRASHES - SUSPECT_CRASHES

    # What is seen in the processes

    def handler_begins(self, process, claim):
        key = (claim.id, claim.fence)
        if self.claims.get(key, (None,))[0] != claim.incarnation:
            self.fail(f"{claim.id} runs under fence {claim.fence}, which {claim.incarnation} was not given")
        if key in self.started:
            self.fail(f"{claim.id} was started twice under fence {claim.fence}")
        beside = [other for other, where in self.active.items() if where is process]
        if beside and (claim.suspect or any(other in self.world.alone for other in beside)):
            self.fail(f"{claim.id} runs beside {beside}, and one of them must run alone")
        if len(beside) >= self.world.plan.capacity:
            self.fail(f"{process.name} runs {len(beside) + 1} handlers in {self.world.plan.capacity} slots")
        if claim.suspect:
            self.world.alone.add(key)
        self.started[key] = self.active[key] = process

    def handler_ends(self, claim):
        self.active.pop((claim.id, claim.fence), None)

    def active_alive(self):
        return any(process.alive for process in self.active.values())

    # At the end

    def judge(self):
        query, world = self.world.ledger.query, self.world
        counted = query("SELECT coalesce(sum(accepted), 0) - coalesce(sum(purged), 0) AS n FROM job_tally")[0]["n"]
        jobs = query("SELECT id, state, result FROM job")
        if counted != len(jobs):
            self.fail(f"{counted} jobs were counted and {len(jobs)} are there")
        for lost in world.acknowledged - {row["id"] for row in jobs}:
            self.fail(f"{lost} was acknowledged and is not there")
        completed = {row["id"] for row in jobs if row["state"] == "completed"}
        noted = {row["job_id"] for row in query("SELECT job_id FROM job_attempt WHERE outcome = 'completed'")}
        for job in completed ^ noted:
            self.fail(f"{job}: its state and its attempts disagree about its completion")
        effects = [(row["job_id"], row["child"]) for row in query("SELECT * FROM effect")]
        wanted = {job for job in completed if world.kind_of(job) == "tx"}
        if sorted(job for job, _ in effects) != sorted(wanted):
            self.fail(f"effects {effects} of the completed {sorted(wanted)}")
        children = {row["id"] for row in jobs if world.kind_of(row["id"]) == "child"}
        if children != {child for _, child in effects}:
            self.fail(f"children {children} of the effects {effects}")
