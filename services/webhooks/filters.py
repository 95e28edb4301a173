"""Content filters: conditions on an event, given as JSON, by which an endpoint takes some of the events of its types.

    {"and": [{"path": "/data/amount", "gte": 100, "lt": 5000}, {"not": {"path": "/data/test", "equals": true}}]}

Pure. A condition is one of `and`, `or` (lists), `not` (one), or a `path` with comparisons that must all hold. A path is
a JSON Pointer into what is delivered (`/type`, `/timestamp`, `/data`), or the same parted by dots (`data.amount`). The
invariants: a filter that `parse` has taken never raises, whatever the event is; nothing is converted, so that "5" is no
number and true is not 1; what is not there fulfils `exists: false` and no other comparison. Refuses what is deeper,
longer or larger than the bounds, naming the place by a JSON Pointer.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from shared.kernel.errors import HoldfastError

DEPTH_MAX: Final = 8
CONDITIONS_MAX: Final = 64
VALUES_MAX: Final = 100
SEGMENTS_MAX: Final = 16
SIZE_MAX_BYTES: Final = 16 * 1024
ROOTS: Final = ("data", "type", "timestamp")
_GROUPS: Final = ("and", "or", "not")
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": lambda found, bound: found > bound,
    "gte": lambda found, bound: found >= bound,
    "lt": lambda found, bound: found < bound,
    "lte": lambda found, bound: found <= bound,
}
COMPARISONS: Final = ("equals", "in", "exists", *_ORDERS)
_MISSING: Final = object()
Condition = Callable[[Mapping[str, Any]], bool]


class FilterRefused(HoldfastError):
    """`pointer` is the place within the filter."""

    status = 422
    code = "filter_refused"

    def __init__(self, words: str, place: Sequence[str | int]) -> None:
        super().__init__(words)
        self.pointer = "".join(f"/{escaped(part)}" for part in place)


def parse(given: Any) -> Condition:
    """From JSON to a predicate on `{"type", "timestamp", "data"}`. Raises FilterRefused."""
    try:
        size = len(orjson.dumps(given))
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise FilterRefused(f"a filter is JSON without integers above 64 bits: {error}", ()) from None
    if size > SIZE_MAX_BYTES:
        raise FilterRefused(f"a filter is at most {SIZE_MAX_BYTES} bytes of JSON, this one is {size}", ())
    return _Parser().condition(given, (), 1)


class _Parser:
    def __init__(self) -> None:
        self._count = 0

    def condition(self, given: Any, place: tuple[str | int, ...], depth: int) -> Condition:
        if not isinstance(given, dict):
            raise FilterRefused("a condition is an object", place)
        if depth > DEPTH_MAX:
            raise FilterRefused(f"conditions are nested at most {DEPTH_MAX} deep", place)
        self._count += 1
        if self._count > CONDITIONS_MAX:
            raise FilterRefused(f"a filter has at most {CONDITIONS_MAX} conditions", place)
        kinds = [name for name in (*_GROUPS, "path") if name in given]
        if len(kinds) != 1:
            raise FilterRefused('a condition has exactly one of "and", "or", "not", "path"', place)
        kind = kinds[0]
        if kind == "path":
            return _comparison(given, place)
        others = sorted(set(given) - {kind})
        if others:
            raise FilterRefused(f'nothing stands beside "{kind}"', (*place, others[0]))
        if kind == "not":
            inner = self.condition(given["not"], (*place, "not"), depth + 1)
            return lambda event: not inner(event)
        return self._group(kind, given[kind], (*place, kind), depth)

    def _group(self, kind: str, given: Any, place: tuple[str | int, ...], depth: int) -> Condition:
        if not isinstance(given, list) or not given:
            raise FilterRefused(f'"{kind}" takes a list of at least one condition', place)
        inner = [self.condition(one, (*place, index), depth + 1) for index, one in enumerate(given)]
        if kind == "and":
            return lambda event: all(holds(event) for holds in inner)
        return lambda event: any(holds(event) for holds in inner)


def _comparison(given: Mapping[str, Any], place: tuple[str | int, ...]) -> Condition:
    steps = _steps(given["path"], (*place, "path"))
    tests = []
    for name, value in given.items():
        if name == "path":
            continue
        if name not in COMPARISONS:
            raise FilterRefused(
                f"there is no comparison of this name; there are {', '.join(COMPARISONS)}", (*place, name)
            )
        tests.append(_test(name, value, (*place, name)))
    if not tests:
        raise FilterRefused(f"a path is compared with one or more of {', '.join(COMPARISONS)}", place)
    if len(tests) == 1:
        only = tests[0]
        return lambda event: only(_found(event, steps))
    return lambda event: _all(tests, _found(event, steps))


def _all(tests: Sequence[Callable[[Any], bool]], found: Any) -> bool:
    return all(test(found) for test in tests)


def _test(name: str, value: Any, place: tuple[str | int, ...]) -> Callable[[Any], bool]:
    if name == "exists":
        if not isinstance(value, bool):
            raise FilterRefused('"exists" takes true or false', place)
        return lambda found: (found is not _MISSING) is value
    if name == "equals":
        return lambda found: same(found, value)
    if name == "in":
        if not isinstance(value, list) or not 1 <= len(value) <= VALUES_MAX:
            raise FilterRefused(f'"in" takes a list of 1 to {VALUES_MAX} values', place)
        return lambda found: any(same(found, one) for one in value)
    if not is_number(value):
        raise FilterRefused(f'"{name}" takes a number', place)
    order = _ORDERS[name]
    return lambda found: is_number(found) and order(found, value)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON values: 1 and 1.0 are, true and 1 are not; members in any order, elements in theirs."""
    if is_number(one) and is_number(other):
        return bool(one == other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(name in other and same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def is_number(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def escaped(part: str | int) -> str:
    """A segment of a JSON Pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def _steps(path: Any, place: tuple[str | int, ...]) -> tuple[str, ...]:
    if not isinstance(path, str) or not path:
        raise FilterRefused("a path is a JSON Pointer such as /data/amount", place)
    if path.startswith("/"):
        steps = tuple(_unescaped(part, place) for part in path[1:].split("/"))
    else:
        steps = tuple(path.split("."))
        if "" in steps:
            raise FilterRefused("a path has a name between two dots", place)
    if len(steps) > SEGMENTS_MAX:
        raise FilterRefused(f"a path has at most {SEGMENTS_MAX} segments", place)
    if steps[0] not in ROOTS:
        raise FilterRefused(f"a path begins with {', '.join('/' + root for root in ROOTS)}", place)
    return steps


def _unescaped(part: str, place: tuple[str | int, ...]) -> str:
    if "~" in part.replace("~0", "").replace("~1", ""):
        raise FilterRefused("in a JSON Pointer, ~ is written ~0 and / within a name ~1", place)
    return part.replace("~1", "/").replace("~0", "~")


def _found(event: Mapping[str, Any], steps: Sequence[str]) -> Any:
    value: Any = event
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, _MISSING)
        elif isinstance(value, list) and _is_index(step):
            index = int(step)
            value = value[index] if index < len(value) else _MISSING
        else:
            return _MISSING
    return value


def _is_index(step: str) -> bool:
    """As RFC 6901 has them: no sign, no leading zero; 6 digits are more than a payload holds."""
    return step.isascii() and step.isdigit() and len(step) <= 6 and (step == "0" or step[0] != "0")
