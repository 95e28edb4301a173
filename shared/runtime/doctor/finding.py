"""A finding: what was looked at, how it is, what was found and wanted, and how to mend it. Pure.

`ok` is as it should be. `warn` works and will hurt one day, or could not be seen. `fail` loses work, or stops it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warn", "fail"]
_ORDER: dict[Level, int] = {"ok": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True)
class Finding:
    check: str
    level: Level
    found: str
    wanted: str
    fix: str = ""  # empty where nothing is to be mended


def judged(check: str, level: Level, found: str, wanted: str, fix: str) -> Finding:
    """A finding whose fix is said only where there is something to mend."""
    return Finding(check, level, found, wanted, "" if level == "ok" else fix)


def worst(findings: Iterable[Finding]) -> Level:
    """`ok` of nothing."""
    return max((finding.level for finding in findings), key=_ORDER.__getitem__, default="ok")


def exit_code(findings: Iterable[Finding], *, strict: bool = False) -> int:
    """0 unless something fails; `strict` counts warnings as well."""
    level = worst(findings)
    return int(level == "fail" or (strict and level == "warn"))


def document(findings: Iterable[Finding]) -> dict[str, Any]:
    """`{ok, level, findings: [{check, level, found, wanted, fix}]}`."""
    every = list(findings)
    level = worst(every)
    return {"ok": level != "fail", "level": level, "findings": [asdict(finding) for finding in every]}


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
