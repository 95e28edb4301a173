"""From a results document to what is drawn: medians over the rounds, on the standard library alone.

`bench.plots` draws it in an environment that has nothing else of this project.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from bench.pace import CURVE

Document = dict[str, Any]
LATENCIES = (
    ("latency", "stock", "stock taskiq-redis: enqueue → start, 100/s"),
    ("latency", "start", "Holdfast: enqueue → start, 100/s"),
    ("saturation", "start", "Holdfast: enqueue → start, 70 % of saturation"),
    ("latency", "straight", "straight to the receiver, 200/s"),
    ("latency", "arrival", "Holdfast: accept → receiver, 200/s"),
    ("saturation", "arrival", "Holdfast: accept → receiver, 70 % of saturation"),
)


def outcome(document: Document, scenario: str, database: str = "postgres") -> Document | None:
    found = (one for one in document["outcomes"] if (one["scenario"], one["database"]) == (scenario, database))
    return next(found, None)


def latency_curves(document: Document) -> dict[str, list[tuple[float, float]]]:
    """By name: (share of all jobs, ms); each point the median of the rounds at that share."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for scenario, key, name in LATENCIES:
        rounds = [row[key]["curve"] for row in (outcome(document, scenario) or {"rounds": []})["rounds"] if key in row]
        if rounds and all(len(curve) == len(CURVE) for curve in rounds):
            curves[name] = [
                (share, statistics.median(at)) for share, at in zip(CURVE, zip(*rounds, strict=True), strict=True)
            ]
    return curves


def backlog_points(document: Document) -> dict[str, list[tuple[int, float, float, float]]]:
    """By name: (jobs waiting, median, least and most µs)."""
    rounds = (outcome(document, "depths") or {"rounds": []})["rounds"]
    names = {
        "hot_us": "claim + complete, wall",
        "hot_cpu_us": "claim + complete, backend CPU",
        "relay_us": "dispatch, wall",
    }
    depths = [int(key) for key in rounds[0] if key.isdigit()] if rounds else []
    return {
        name: [(depth, *_spread([row[str(depth)][key] for row in rounds])) for depth in sorted(depths)]
        for key, name in names.items()
        if depths
    }


def rotation_points(document: Document) -> dict[str, list[tuple[int, float, float, float]]]:
    """By name: (among how many, median, least and most µs of CPU)."""
    rounds = (outcome(document, "rotation") or {"rounds": []})["rounds"]
    words = {"new": "not met before", "met": "met before"}
    return {
        f"{kind}, {words[phase]}": [
            (int(count), *_spread([row[kind][count][phase]["cpu_us"] for row in rounds]))
            for count in sorted(rounds[0][kind], key=int)
        ]
        for kind in ("tenants", "lanes")
        for phase in words
        if rounds
    }


def peer_bars(document: Document) -> list[tuple[str, float, float, float, bool]]:
    """(system, median, least and most jobs a second, durable), fastest first."""
    found = outcome(document, "peers")
    bars: dict[str, list[float]] = {}
    for row in found["rounds"] if found else []:
        for name, told in row.items():
            bars.setdefault(name, []).append(told["drain"]["rate"])
    kinds = {row[0]: str(row[-1]) for table in (found["tables"] if found else []) for row in table["rows"]}
    made = [(name, *_spread(rates), kinds.get(name, "").startswith("PostgreSQL")) for name, rates in bars.items()]
    return sorted(made, key=lambda bar: -bar[1])


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)
