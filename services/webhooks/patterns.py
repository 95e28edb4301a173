"""Event types, the patterns that endpoints subscribe with, and which of many patterns a type matches.

Pure. A type is segments of letters, digits, `_` and `-` parted by dots. A pattern is a type, `*` for every type, or
a type with `.*` behind it for everything below it: `media.*` matches `media.asset.processed.v1`, not `media`.
The types of operational events are ours: `*` does not match them, so nobody gets them who did not ask for them.
The invariant: `Matcher.of(type)` is exactly the values one of whose patterns `matches` the type, each once, in the
order given; its cost grows with the type's segments and the matches, not with the endpoints.
"""

import re
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

TYPE_MAX_CHARS: Final = 128
PATTERNS_MAX: Final = 50
EVERYTHING: Final = "*"
ENDPOINT_DISABLED: Final = "endpoint.disabled"
ENDPOINT_RECOVERED: Final = "endpoint.recovered"
ATTEMPT_FAILING: Final = "delivery.attempt_failing"
EXHAUSTED: Final = "delivery.exhausted"
OPERATIONAL: Final = frozenset({ENDPOINT_DISABLED, ENDPOINT_RECOVERED, ATTEMPT_FAILING, EXHAUSTED})
_TYPE: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

V = TypeVar("V")


def is_event_type(text: str) -> bool:
    return len(text) <= TYPE_MAX_CHARS and _TYPE.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    return text == EVERYTHING or is_event_type(text.removesuffix(".*"))


def matches(pattern: str, event_type: str) -> bool:
    if pattern == EVERYTHING:
        return event_type not in OPERATIONAL
    if pattern.endswith(".*"):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type


class Matcher(Generic[V]):
    """Built once from (patterns, value) pairs, asked often."""

    def __init__(self, pairs: Iterable[tuple[Iterable[str], V]]) -> None:
        self._values: list[V] = []
        self._by_pattern: dict[str, list[int]] = {}
        for patterns, value in pairs:
            for pattern in set(patterns):
                self._by_pattern.setdefault(pattern, []).append(len(self._values))
            self._values.append(value)

    def __len__(self) -> int:
        return len(self._values)

    def of(self, event_type: str) -> list[V]:
        found: set[int] = set()
        for pattern in _patterns_of(event_type):
            found.update(self._by_pattern.get(pattern, ()))
        return [self._values[index] for index in sorted(found)]


def _patterns_of(event_type: str) -> list[str]:
    """Every pattern that matches the type."""
    patterns = [event_type] if event_type in OPERATIONAL else [EVERYTHING, event_type]
    dot = event_type.find(".")
    while dot >= 0:
        patterns.append(event_type[:dot] + ".*")
        dot = event_type.find(".", dot + 1)
    return patterns
