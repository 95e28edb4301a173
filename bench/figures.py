"""A figure: one number per round against one bound; its median judges, its spread says how far to trust that."""

import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

_TESTS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass
class Figure:
    """`bound` None: shown, not judged. `values`: one for each round, in its order."""

    name: str
    values: list[float]
    unit: str = "times"
    sense: Literal[">=", "<="] = ">="
    bound: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        return None if self.bound is None else _TESTS[self.sense](self.median, self.bound)

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name, "unit": self.unit, "median": self.median, "min": min(self.values),
            "max": max(self.values), "target": None if self.bound is None else f"{self.sense} {self.bound:g}",
            "met": self.met, "values": self.values,
        }  # fmt: skip


@dataclass
class Table:
    """Medians side by side, where many systems answer the same questions; None where there is no answer."""

    title: str
    columns: list[str]
    rows: list[list[str | float | None]]


@dataclass
class Outcome:
    """What one scenario brought on one database. `rounds`: raw, each with CPU by process group."""

    scenario: str
    database: str
    durability: str
    figures: list[Figure]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list["Table"] = field(default_factory=list)
    seconds: float = 0.0  # that the scenario took
    stolen: float | None = None  # the share of the machine's processor time that others had meanwhile

    def document(self) -> dict[str, Any]:
        figures = [figure.document() for figure in self.figures]
        return {**vars(self), "figures": figures, "tables": [vars(table) for table in self.tables]}


def column(rounds: Sequence[dict[str, Any]], *path: str) -> list[float]:
    """The number at `path` of each round."""
    found: list[float] = []
    for row in rounds:
        value: Any = row
        for step in path:
            value = value[step]
        found.append(round(float(value), 4))
    return found


def median_of(rounds: Sequence[dict[str, Any]], *path: str) -> float | None:
    """Over the rounds that have it; None when none has."""
    values: list[float] = []
    for row in rounds:
        value: Any = row
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            values.append(float(value))
    return round(statistics.median(values), 4) if values else None
