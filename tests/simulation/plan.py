"""What a seed decides before the run begins: how big the world is, what is asked of it, how unkind it will be."""

from dataclasses import dataclass, field
from random import Random

from shared.contracts.lane import LanePolicy

SECOND_US = 1_000_000
KINDS = ("plain", "tx", "failing", "retrying", "dead", "discarded", "hanging")
WEIGHTS = (10, 5, 4, 3, 1, 1, 1)
FATES = ("refused", "lost", "late", "die_before", "die_after", "stop_before", "stop_after")
EVENTS = (
    "kill_worker", "kill_relay", "stop_worker", "stop_relay", "cut_worker", "cut_relay", "database_down", "redis_down",
    "wipe", "restore", "lag", "duplicate", "reorder", "drain_worker", "steal_lock", "cancel_job", "retry_dead",
    "crash_database",
)  # fmt: skip

HINDRANCES = ("pause_lane", "pause_lane", "resume_lane", "pause_queue", "resume_queue", *["hold_lane"] * 3)


@dataclass
class Order:
    """Jobs that one caller asks for at once."""

    at_s: float
    kinds: list
    seconds: float
    times: int
    run_in_s: float
    max_attempts: int | None
    priority: int
    timeout_s: float
    lane: str | None = None


@dataclass
class Plan:
    calm: bool
    workers: int
    relays: int
    capacity: int
    chaos_s: float
    lease_s: float
    beat_s: float
    longest_stop_s: float
    fault_rate: float
    fates: tuple
    kills: int
    skews_us: tuple
    orders: list
    events: list = field(default_factory=list)
    lanes: dict = field(default_factory=dict)  # name → LanePolicy

    @property
    def tolerance_us(self):
        """How early a start may seem to somebody whose clock is behind."""
        return max(self.skews_us) - min(self.skews_us)


def make_plan(random: Random) -> Plan:
    calm = random.random() < 0.1
    chaos_s = random.uniform(2.0, 6.0)
    lease_s, beat_s = random.choice([(3.0, 0.75), (3.0, 0.75), (3.0, 0.75), (12.0, 3.0)])
    skew_us = random.choice([0, 0, 0, SECOND_US // 2, 3 * SECOND_US])
    plan = Plan(
        calm=calm,
        workers=random.choice([1, 2, 2, 3]),
        relays=random.choice([1, 2, 2]),
        capacity=random.choice([1, 2, 4]),
        chaos_s=chaos_s,
        lease_s=lease_s,
        beat_s=beat_s,
        longest_stop_s=lease_s * random.choice([0.3, 1.5, 2.5]),
        fault_rate=0.0 if calm else random.choice([0.0, 0.01, 0.03, 0.08]),
        fates=tuple(random.sample(FATES, random.randint(1, len(FATES)))),
        kills=random.randint(0, 3),
        skews_us=(0,) if skew_us == 0 else (-skew_us, 0, 0, skew_us),
        orders=[_order(random, chaos_s) for _ in range(random.randint(2, 6))],
    )
    special = random.random()
    if special < 0.12 and not calm:
        plan.orders[0].kinds[0] = "poison"
    elif special < 0.18 and not calm:
        plan.orders[0].kinds[0] = "stubborn"
    if not calm:
        favourites = random.sample(EVENTS, random.randint(1, 6))
        times = sorted(random.uniform(0.1, chaos_s) for _ in range(random.randint(0, 8)))
        plan.events = [(at_s, random.choice(favourites)) for at_s in times]
    if random.random() < 0.6:
        _plan_lanes(random, plan)
    return plan


def _plan_lanes(random, plan):
    """Lanes with a limit, and groups of them.

    Ordered ones are each of one order, so that all of it is there before anything of it starts.
    """
    plan.lanes["narrow"] = LanePolicy(concurrency=random.choice([1, 1, 2]))
    plan.lanes["slow"] = LanePolicy(rate_per_s=random.choice([2.0, 8.0]), burst=random.choice([1, 3]))
    group = LanePolicy(concurrency=random.choice([1, 2, 3]), ordered=random.random() < 0.5)
    plan.lanes["group"] = group
    for number, order in enumerate(plan.orders):
        key = number if group.ordered else number % 2
        order.lane = random.choice([None, "narrow", "slow", f"group:{key}", f"group:{key}"])
    for number in range(random.randint(0, 2)):
        order = _order(random, plan.chaos_s)
        order.lane, order.kinds = f"ordered{number}", random.choices(KINDS, WEIGHTS, k=random.randint(2, 5))
        plan.lanes[order.lane] = LanePolicy(ordered=True)
        plan.orders.append(order)
    if not plan.calm:
        times = [random.uniform(0.1, plan.chaos_s) for _ in range(random.choice([0, 1, 3]))]
        plan.events = sorted([*plan.events, *((at_s, random.choice(HINDRANCES)) for at_s in times)])


def _order(random, chaos_s):
    return Order(
        at_s=random.uniform(0.0, chaos_s * 0.8) ** 2 / chaos_s,
        kinds=random.choices(KINDS, WEIGHTS, k=random.randint(1, 3)),
        seconds=random.choice([0.0, 0.05, 0.5, 1.5]),
        times=random.randint(1, 3),
        run_in_s=random.choice([0.0, 0.0, 0.0, 2.0]),
        max_attempts=random.choice([None, None, 1]),
        priority=random.randint(0, 9),
        timeout_s=random.choice([2.0, 9.0]),  # within a lease and beyond it
    )
