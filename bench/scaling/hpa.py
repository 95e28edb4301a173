"""The HorizontalPodAutoscaler (autoscaling/v2) as Kubernetes publishes it, as pure functions over what it remembers.

desired = ceil(current x metric / target), unless that ratio is within the tolerance of 1; the largest wish of several
metrics; held by the stabilisation windows (the least of a window on the way up, the most on the way down); then kept
within what the behaviour's policies allow in their periods, and within the minimum and the maximum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 0.1
SYNC_S = 15.0  # --horizontal-pod-autoscaler-sync-period
Select = Literal["Max", "Min", "Disabled"]


@dataclass(frozen=True)
class Policy:
    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class Direction:
    policies: tuple[Policy, ...]
    window_s: float = 0.0
    select: Select = "Max"


# What Kubernetes takes where a manifest says nothing.
DEFAULT_UP = Direction((Policy("Percent", 100, 15), Policy("Pods", 4, 15)), 0.0)
DEFAULT_DOWN = Direction((Policy("Percent", 100, 15),), 300.0)


@dataclass(frozen=True)
class Bounds:
    least: int
    most: int
    up: Direction = DEFAULT_UP
    down: Direction = DEFAULT_DOWN


@dataclass
class Memory:
    """What the controller keeps between two syncs: its wishes, and by how much it has scaled, each with its time."""

    wishes: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)


def wished(current: int, ratio: float) -> int:
    """`ratio`: the metric over its target, of all current pods."""
    return current if abs(ratio - 1.0) <= TOLERANCE else math.ceil(round(current * ratio, 9))


def wished_of_total(current: int, total: float, target: float) -> int:
    """AverageValue: the total is divided among the pods; the same as `wished` with total / (target x current)."""
    if current and abs(total / (target * current) - 1.0) <= TOLERANCE:
        return current
    return math.ceil(round(total / target, 9))


def decide(current: int, wishes: Sequence[int], bounds: Bounds, memory: Memory, now_s: float) -> int:
    """The number of pods from now on; notes what it wished and did. `wishes`: one for each metric."""
    wanted = max(wishes, default=current)
    memory.wishes = [one for one in memory.wishes if now_s - one[0] < max(bounds.up.window_s, bounds.down.window_s)]
    calm = _stabilized(current, wanted, bounds, memory, now_s)
    memory.wishes.append((now_s, wanted))
    decided = min(max(_paced(current, calm, bounds, memory, now_s), bounds.least), bounds.most)
    if decided != current:
        memory.changes.append((now_s, decided - current))
    return decided


def _stabilized(current: int, wanted: int, bounds: Bounds, memory: Memory, now_s: float) -> int:
    up = min([wanted, *(n for at, n in memory.wishes if now_s - at < bounds.up.window_s)])
    down = max([wanted, *(n for at, n in memory.wishes if now_s - at < bounds.down.window_s)])
    return min(max(current, up), down)


def _paced(current: int, wanted: int, bounds: Bounds, memory: Memory, now_s: float) -> int:
    if wanted > current:
        return max(current, min(wanted, ceiling(current, bounds.up, memory, now_s)))
    if wanted < current:
        return min(current, max(wanted, floor(current, bounds.down, memory, now_s)))
    return current


def ceiling(current: int, rules: Direction, memory: Memory, now_s: float) -> int:
    if rules.select == "Disabled" or not rules.policies:
        return current
    choose = max if rules.select == "Max" else min
    return choose(
        began + policy.value if policy.kind == "Pods" else math.ceil(round(began * (1 + policy.value / 100), 9))
        for policy, began in _of_periods(current, rules, memory, now_s)
    )


def floor(current: int, rules: Direction, memory: Memory, now_s: float) -> int:
    """`Max` is the largest change: the fewest pods."""
    if rules.select == "Disabled" or not rules.policies:
        return current
    choose = min if rules.select == "Max" else max
    return choose(
        began - policy.value if policy.kind == "Pods" else int(round(began * (1 - policy.value / 100), 9))
        for policy, began in _of_periods(current, rules, memory, now_s)
    )


def _of_periods(current: int, rules: Direction, memory: Memory, now_s: float) -> list[tuple[Policy, int]]:
    """Each policy with the number of pods that its period began with."""
    return [
        (policy, current - sum(by for at, by in memory.changes if now_s - at < policy.period_s))
        for policy in rules.policies
    ]
