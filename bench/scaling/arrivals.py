"""Arrival curves: jobs that become due in each second. Synthetic ones are pure; recorded ones come from a bench run.

All are of rates near what one pod was measured to do, so that they ask for several.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded.json"
Curve = list[float]


def steady(rate: float, seconds: int) -> Curve:
    return [rate] * seconds


def diurnal(least: float, most: float, seconds: int) -> Curve:
    """A day, pressed into so many seconds: the night first."""
    middle, swing = (most + least) / 2, (most - least) / 2
    return [middle - swing * math.cos(2 * math.pi * at / seconds) for at in range(seconds)]


def step(rate: float, factor: float, at_s: int, seconds: int) -> Curve:
    """`factor` times as much from `at_s` on."""
    return [rate * (factor if at >= at_s else 1) for at in range(seconds)]


def burst(rate: float, count: float, at_s: int, within_s: int, seconds: int) -> Curve:
    """`count` jobs more, evenly within a few seconds."""
    extra = count / within_s
    return [rate + (extra if at_s <= at < at_s + within_s else 0.0) for at in range(seconds)]


def storm(rate: float, outage_s: int, at_s: int, jitter_s: int, seconds: int) -> Curve:
    """A receiver of all is down: its deliveries fail, and come back when it answers, within the retries' jitter.

    While it is down only the first attempts arrive; then everything that has failed comes at once, on top.
    """
    returning = rate * outage_s / jitter_s
    back = at_s + outage_s
    return [rate + (returning if back <= at < back + jitter_s else 0.0) for at in range(seconds)]


def recorded(path: Path = RECORDED, *, scale: float = 1.0, times: int = 1) -> Curve:
    """What a bench run saw, `scale` times as much, `times` in a row."""
    document: Mapping[str, list[float]] = json.loads(path.read_text())
    return [count * scale for _ in range(times) for count in document["arrived"]]
