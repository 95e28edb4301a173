"""What one pod does and what a job costs, read from bench/results: no figure is typed.

The newest outcome of each scenario counts, as on the page on performance.
A picture's figures are None where no run has them: media is left out then, and named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import report
from bench.figures import median_of


@dataclass(frozen=True)
class Measured:
    """Medians, on PostgreSQL. Rates a second of one worker process; CPU in µs a job; bytes of a row with its index."""

    delivery_rate: float
    delivery_us: float
    delivery_relay_us: float
    delivery_servers_us: float
    accept_us: float
    accept_servers_us: float
    job_bytes: float
    attempt_bytes: float
    job_wal_bytes: float
    redis_mib: float
    picture_rate: float | None
    picture_us: float | None
    runs: tuple[str, ...]


def read() -> Measured:
    """Raises ValueError for what no published run has measured."""
    return of(report.merged(report.read(path) for path in report.published()))


def of(shown: Mapping[str, Any]) -> Measured:
    """Of what `report.merged` made. Pure."""
    outcomes = {each["scenario"]: each for each in shown["outcomes"] if each["database"] == "postgres"}

    def figure(scenario: str, name: str) -> float:
        found = _figure(outcomes, scenario, name)
        if found is None:
            raise ValueError(f"no published run has {name!r} of {scenario}: run `python -m bench {scenario}`")
        return found

    used = ("crowd", "deliveries", "accept", "drain", "history", "flat", "media")
    picture = _figure(outcomes, "media", "media: pictures, 12 MP JPEG → WebP 320 and 1280")
    picture_ms = _figure(outcomes, "media", "media: CPU, 12 MP JPEG → WebP 320 and 1280")
    return Measured(
        delivery_rate=figure("crowd", "deliveries to 100 endpoints"),
        delivery_us=figure("crowd", "CPU of a delivery to 100 endpoints: worker"),
        delivery_relay_us=figure("crowd", "CPU of a delivery to 100 endpoints: relay"),
        delivery_servers_us=figure("deliveries", "CPU of a delivery: database + Valkey"),
        accept_us=figure("accept", "CPU of an accept: app"),
        accept_servers_us=figure("accept", "CPU of an accept: database + Valkey"),
        job_bytes=_raw(outcomes, "history", "hours", "sizes", "job_row_bytes"),
        attempt_bytes=_raw(outcomes, "history", "hours", "sizes", "job_attempt_row_bytes"),
        job_wal_bytes=_raw(outcomes, "history", "history", "wal_bytes"),
        redis_mib=figure("flat", "Valkey's memory, deep, draining"),
        picture_rate=picture,
        picture_us=None if picture_ms is None else picture_ms * 1000,
        runs=tuple(sorted({outcomes[name]["run"] for name in used if name in outcomes})),
    )


def _figure(outcomes: Mapping[str, Any], scenario: str, name: str) -> float | None:
    found = [one["median"] for one in outcomes.get(scenario, {"figures": ()})["figures"] if one["name"] == name]
    return float(found[0]) if found else None


def _raw(outcomes: Mapping[str, Any], scenario: str, *path: str) -> float:
    """The median of a raw number over the rounds."""
    found = median_of(outcomes.get(scenario, {"rounds": ()})["rounds"], *path)
    if found is None:
        raise ValueError(f"no published run has {'.'.join(path)} of {scenario}: run `python -m bench {scenario}`")
    return found
