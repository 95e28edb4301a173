"""docs/telemetry.md is the catalogue: what stands there is in the code, and what the code counts stands there."""

from __future__ import annotations

import re

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from shared.runtime import metrics
from tests.architecture.tree import ROOT, product_files

PAGE = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
CODE = "\n".join(path.read_text("utf-8") for path in product_files())


def table(first: str) -> list[list[str]]:
    """Rows of the table whose header begins with `first`."""
    after = PAGE.split(f"| {first} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in after.splitlines()[2:]]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def counted() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name as scraped → (type, labels), of everything that is ours in the registry."""
    found = {}
    for collector in set(REGISTRY._names_to_collectors.values()):
        for kind in (Counter, Gauge, Histogram):
            if isinstance(collector, kind) and collector._name.startswith("holdfast"):
                suffix = "_total" if kind is Counter else ""
                found[collector._name + suffix] = (kind.__name__.lower(), tuple(collector._labelnames))
    return found


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    assert metrics.ENGINE, "the engine's metrics are registered by importing this"
    documented = {ticked(name)[0]: (kind, tuple(ticked(labels))) for name, kind, labels, *_ in table("metric")}
    assert documented == counted()


def test_documented_outcomes_are_those_of_the_state_machine() -> None:
    from typing import get_args

    from shared.ledger.states import Outcome

    values = {ticked(name)[0]: ticked(values.split("([")[0]) for name, values in table("label")}
    assert sorted(values["outcome"]) == sorted(get_args(Outcome))


def test_documented_problems_are_raised_somewhere() -> None:
    codes = [code for cell, *_ in table("code") for code in ticked(cell)]
    assert len(codes) > 10
    assert [code for code in codes if f'"{code}"' not in CODE] == []


def test_documented_log_events_are_logged_somewhere() -> None:
    events = [event for cell, *_ in table("event") for event in ticked(cell)]
    assert len(events) > 4
    assert [event for event in events if f'"{event}"' not in CODE] == []
