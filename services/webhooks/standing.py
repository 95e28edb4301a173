"""Whether an event is for an endpoint as the endpoint stands, or as it stood when the event came. Pure.

`Terms` is what decides: enabled, patterns, filter, channels. The invariant: `judge` says yes exactly when accepting
makes a delivery, and names every condition with what it found, so that a person sees which one it was.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from services.webhooks.filters import escaped, parse
from services.webhooks.patterns import matches

Row = Mapping[str, Any]
Check = Literal["enabled", "type", "channels", "filter"]
BLAMED_MOST: Final = 10
CLAUSE_MOST_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Happening:
    """What an endpoint's terms look at of an event; `payload()` is None when it was erased."""

    type: str
    channels: Sequence[str]
    payload: Callable[[], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Terms:
    """From `at` on, in microseconds."""

    at: int
    enabled: bool
    disabled_reason: str | None
    patterns: tuple[str, ...]
    filter: Any = None
    channels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition: whether it holds, and in words what was found. `holds` is None when nobody can tell any more."""

    check: Check
    holds: bool | None
    words: str


def terms_of(row: Row, at: int) -> Terms:
    return Terms(
        at,
        bool(row["enabled"]),
        row["disabled_reason"],
        tuple(orjson.loads(row["event_types"])),
        orjson.loads(row["filter"]) if row["filter"] else None,
        tuple(orjson.loads(row["channels"])) if row["channels"] else None,
    )


def terms_at(history: Sequence[Terms], at_us: int) -> Terms | None:
    """`history` is oldest first. None when it does not reach back that far."""
    found = bisect_right(history, at_us, key=lambda terms: terms.at)
    return history[found - 1] if found else None


def judge(terms: Terms, event: Happening) -> list[Finding]:
    """Every condition, whether or not one before it fails."""
    return [_enabled(terms), _type(terms, event), _channels(terms, event), _filter(terms, event)]


def wants(terms: Terms, event: Happening) -> bool:
    """Whether its type, channels and filter let the event pass; being disabled is another matter."""
    if not all(finding.holds for finding in (_type(terms, event), _channels(terms, event))):
        return False
    return terms.filter is None or ((payload := event.payload()) is not None and parse(terms.filter)(payload))


def may_want(terms: Terms, event: Happening) -> bool:
    """Whether a look at its payload could change anything: type and channels let it pass, and there is a filter."""
    return terms.filter is not None and bool(_type(terms, event).holds and _channels(terms, event).holds)


def _enabled(terms: Terms) -> Finding:
    words = "the endpoint is enabled" if terms.enabled else f"it is disabled: {terms.disabled_reason or 'no reason'}"
    return Finding("enabled", terms.enabled, words)


def _type(terms: Terms, event: Happening) -> Finding:
    found = [pattern for pattern in terms.patterns if matches(pattern, event.type)]
    listed = ", ".join(terms.patterns)
    words = f"{found[0]} matches {event.type}" if found else f"none of {listed} matches {event.type}"
    return Finding("type", bool(found), words)


def _channels(terms: Terms, event: Happening) -> Finding:
    if terms.channels is None:
        return Finding("channels", holds=True, words="the endpoint takes events of every channel")
    shared = [channel for channel in terms.channels if channel in event.channels]
    own = ", ".join(event.channels) or "none"
    words = f"the endpoint takes {', '.join(terms.channels)}, the event names {own}"
    return Finding("channels", bool(shared), words)


def _filter(terms: Terms, event: Happening) -> Finding:
    if terms.filter is None:
        return Finding("filter", holds=True, words="the endpoint has no filter")
    payload = event.payload()
    if payload is None:
        return Finding("filter", holds=None, words="the event's payload was erased: nobody can tell any more")
    at_fault = blamed(terms.filter, payload)
    if not at_fault:
        return Finding("filter", holds=True, words="the endpoint's filter lets it pass")
    return Finding("filter", holds=False, words=f"the endpoint's filter does not: {'; '.join(at_fault[:BLAMED_MOST])}")


def blamed(condition: Any, payload: Mapping[str, Any], place: str = "") -> list[str]:
    """The smallest parts of a filter that keep the payload out, each as `pointer: clause`; none when it passes."""
    if parse(condition)(payload):
        return []
    if "and" in condition or "or" in condition:
        name = "and" if "and" in condition else "or"
        return [
            words
            for index, one in enumerate(condition[name])
            for words in blamed(one, payload, f"{place}/{name}/{index}")
        ]
    if "not" in condition:
        return [f"{place}/not: {_clipped(condition['not'])} holds"]
    return [
        f"{place}/{escaped(name)}: {condition['path']} {name} {_clipped(value)} does not hold"
        for name, value in condition.items()
        if name != "path" and not parse({"path": condition["path"], name: value})(payload)
    ]


def _clipped(value: Any) -> str:
    words = orjson.dumps(value).decode()
    return words if len(words) <= CLAUSE_MOST_CHARS else words[:CLAUSE_MOST_CHARS] + "…"
