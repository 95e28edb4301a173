"""A job system in a contest: filled, drained by one worker process that starts cold, and measured as all others are.

From the first start to the last committed completion where there is such a thing, to the last run where there is not:
`durability` says which. A drain that does not end in time counts as far as it came.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from bench.stage import Stage


@dataclass
class Drain:
    """`jobs` in `seconds`, of the `wanted`; CPU by group of processes, a job."""

    wanted: int
    jobs: int
    seconds: float
    cpu_us: dict[str, float]

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds

    def document(self) -> dict[str, Any]:
        total_us = sum(self.cpu_us.values())
        return {**vars(self), "rate": self.rate, "cpu_total_us": total_us, "whole": self.jobs >= self.wanted}


class Contestant(ABC):
    """Opened once, then round after round: `empty`, `enqueue` or `fill`, `drain`."""

    name: str
    durability: str
    slow = False  # gets half as many jobs as the others

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @abstractmethod
    async def open(self) -> None:
        """Make its tables."""

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give up what it holds open."""

    @abstractmethod
    async def empty(self) -> None:
        """No job is left, finished or not."""

    @abstractmethod
    async def enqueue(self, one: int, bulk: int) -> dict[str, float | None]:
        """`one` jobs in a call each, `bulk` in calls of many; jobs a second of both, None where no such call is."""

    async def fill(self, count: int, **shape: int) -> None:
        """So many waiting jobs, by plain SQL."""
        raise TypeError(f"{self.name} cannot be filled with {count} jobs, {shape}")

    async def bury(self, count: int) -> None:
        """So many jobs that have ended under a snapshot that stays open."""
        raise TypeError(f"{self.name} cannot bury {count} jobs")

    @abstractmethod
    async def drain(self, many: int, limit_s: float) -> Drain:
        """Start the worker, wait for `many` completions or the limit, end the worker."""
