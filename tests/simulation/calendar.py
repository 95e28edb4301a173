"""The schedule of a simulated run, and what must hold of its ticks: each is made or counted, by one job at most.

Some seeds have one, with a tick every second: their relays' tickers are the real ones. When the troubles are over and
the schedule has ticked since, somebody pauses it, so that the run can end.
"""

from dataclasses import dataclass
from random import Random

from shared.contracts.cron import CronLine
from shared.ledger.store_schedule import PAUSE
from tests.simulation.work import Work

SECOND_US = 1_000_000
SHARE = 0.3  # of the seeds
STEP_S = 4.0  # as far as a relay's wall clock is set, to and fro


@dataclass
class Calendar:
    """`steps` are (when, by how many µs) of some relay's wall clock."""

    policy: str
    steps: list

    @property
    def step_us(self):
        return sum(abs(by_us) for _, by_us in self.steps)

    @property
    def line(self):
        # Not validated: seconds are for the simulation, and so is making up for everything.
        return CronLine.model_construct(
            cron="* * * * * *", time_zone="UTC", args={"kind": "tick"}, missed=self.policy, catch_up=1_000, name=""
        )


def make_calendar(seed, plan):
    """A random of its own: a seed without a schedule means what it meant before there were any."""
    random = Random(f"calendar {seed}")
    if random.random() >= SHARE:
        return None
    steps = []
    if not plan.calm and random.random() < 0.6:
        for _ in range(random.randint(1, 3)):
            by_us = round(random.uniform(-STEP_S, STEP_S) * SECOND_US)
            steps.append((random.uniform(0.2, plan.chaos_s), by_us))
    return Calendar(random.choice(["all", "all", "once", "skip"]), steps)


def has_ticked_since(ledger, at_us):
    return bool(ledger.query("SELECT 1 FROM cron_tick WHERE tick_at >= ? AND job_id IS NOT NULL LIMIT 1", at_us))


def stop(ledger, now_us):
    ledger.execute(PAUSE, {"id": Work.task, "paused": True, "next_at": None, "now": now_us})


def judge(world):
    """Every second from the first tick to the last has its row or was counted as missed; every job has its own tick."""
    query, fail = world.ledger.query, world.witness.fail
    ticks = query("SELECT tick_at, job_id, missed FROM cron_tick ORDER BY tick_at")
    made = {row["job_id"]: row["tick_at"] for row in ticks if row["job_id"] is not None}
    jobs = {
        # One that was claimed more than once has been given back meanwhile, to run at another time.
        row["id"]: row["run_at"] if row["fence"] <= 1 else made.get(row["id"])
        for row in query("SELECT id, run_at, fence FROM job WHERE tenant = 'system'")
    }
    if jobs != made:
        fail(f"ticks {sorted(made.items())} have the jobs {sorted(jobs.items())}")
    absent = (ticks[-1]["tick_at"] - ticks[0]["tick_at"]) // SECOND_US + 1 - len(ticks)
    missed = sum(row["missed"] for row in ticks)
    if absent > missed:
        fail(f"{absent} ticks are not there and {missed} were counted as missed")
    if world.calendar.policy == "all" and (absent or missed or len(made) != len(ticks)):
        fail(f"{absent} ticks of a schedule that makes up for all of them are not there, {missed} were counted")
    world.count("ticks", len(ticks))
    world.count("missed_ticks", missed)
