"""Filters: what they take of an event, by a model in other words, and what they refuse, and where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks import filters
from services.webhooks.filters import FilterRefused, parse

DATA = {
    "amount": 100, "rate": 1.5, "test": False, "none": None, "tags": ["new", "eu"], "user": {"id": "u1", "a.b": 2},
    "a/b~c": 7,
}  # fmt: skip
EVENT = {"type": "order.paid", "timestamp": "2026-01-01T00:00:00.000000Z", "data": DATA}

scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5]) | st.sampled_from(["", "a", "1"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip
paths = st.lists(st.sampled_from(["a", "b", "0", "1"]), max_size=3).map(lambda steps: "/".join(["/data", *steps]))
numbers = st.integers(-3, 3) | st.sampled_from([0.5, 1.5])
leaves = st.builds(
    lambda path, test: {"path": path, **test},
    paths,
    st.fixed_dictionaries({}, optional={
        "equals": values, "in": st.lists(values, min_size=1, max_size=3), "exists": st.booleans(),
        "gt": numbers, "gte": numbers, "lt": numbers, "lte": numbers,
    }).filter(bool),
)  # fmt: skip
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda one: {"not": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"and": many}),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"or": many}),
    ),
    max_leaves=6,
)


def holds(condition: dict[str, Any], event: Any) -> bool:
    """The same in other words, slowly."""
    if "and" in condition:
        return False not in [holds(one, event) for one in condition["and"]]
    if "or" in condition:
        return True in [holds(one, event) for one in condition["or"]]
    if "not" in condition:
        return not holds(condition["not"], event)
    try:
        for step in condition["path"].split("/")[1:]:
            event = event[int(step)] if isinstance(event, list) else event[step]
    except (KeyError, IndexError, ValueError, TypeError):
        return all(name == "path" or (name == "exists" and not value) for name, value in condition.items())
    number = type(event) in (int, float)
    tests = {
        "exists": lambda value: value,
        "equals": lambda value: plain(value) == plain(event),
        "in": lambda value: plain(event) in [plain(one) for one in value],
        "gt": lambda value: number and event > value,
        "gte": lambda value: number and event >= value,
        "lt": lambda value: number and event < value,
        "lte": lambda value: number and event <= value,
    }
    return all(name == "path" or tests[name](value) for name, value in condition.items())


def plain(value: Any) -> Any:
    """JSON's own equality as Python's: booleans apart from numbers."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", [plain(one) for one in value])
    if isinstance(value, dict):
        return ("dict", {name: plain(one) for name, one in value.items()})
    return value


@given(conditions, values)
def test_a_filter_says_what_its_model_says(condition: dict[str, Any], data: Any) -> None:
    event = {"type": "t", "data": data}
    assert parse(condition)(event) is holds(condition, event)


@given(conditions, values)
def test_not_is_the_opposite(condition: dict[str, Any], data: Any) -> None:
    event = {"type": "t", "data": data}
    assert parse({"not": condition})(event) is not parse(condition)(event)


json_values = st.recursive(
    scalars | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["path", "and", "or", "not", "equals", "in", "gt", "exists", "x"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(json_values, json_values)
def test_whatever_is_given_is_refused_with_a_place_or_never_raises(given_filter: Any, data: Any) -> None:
    try:
        condition = parse(given_filter)
    except FilterRefused:
        return
    assert condition({"type": "t", "data": data}) in (True, False)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"path": "/data/amount", "equals": 100}, True),
        ({"path": "/data/amount", "equals": 100.0}, True),
        ({"path": "/data/amount", "equals": "100"}, False),
        ({"path": "/data/test", "equals": 0}, False),
        ({"path": "/data/test", "equals": False}, True),
        ({"path": "/data/amount", "gte": 100, "lt": 101}, True),
        ({"path": "/data/amount", "gt": 100}, False),
        ({"path": "/data/amount", "lte": 99.5}, False),
        ({"path": "/data/test", "lt": 1}, False),
        ({"path": "/data/user/id", "gt": 0}, False),
        ({"path": "/data/user/id", "in": ["u1", "u2"]}, True),
        ({"path": "/data/tags", "in": [["new", "eu"]]}, True),
        ({"path": "/data/tags/1", "equals": "eu"}, True),
        ({"path": "/data/tags/01", "exists": True}, False),
        ({"path": "/data/tags/-1", "exists": True}, False),
        ({"path": "/data/none", "exists": True}, True),
        ({"path": "/data/none", "equals": None}, True),
        ({"path": "/data/nothing", "equals": None}, False),
        ({"path": "/data/nothing", "exists": False}, True),
        ({"not": {"path": "/data/nothing", "equals": 1}}, True),
        ({"path": "/data/a~1b~0c", "equals": 7}, True),
        ({"path": "/data/user/a.b", "equals": 2}, True),
        ({"path": "data.user.id", "equals": "u1"}, True),
        ({"path": "/type", "equals": "order.paid"}, True),
        ({"path": "/timestamp", "exists": True}, True),
        ({"or": [{"path": "/data/amount", "gt": 1000}, {"path": "/data/user/id", "equals": "u1"}]}, True),
        ({"and": [{"path": "/data/amount", "gt": 1000}, {"path": "/data/user/id", "equals": "u1"}]}, False),
    ],
)
def test_examples(condition: dict[str, Any], expected: bool) -> None:
    assert parse(condition)(EVENT) is expected


def nested(depth: int) -> dict[str, Any]:
    return {"path": "/data", "exists": True} if depth <= 1 else {"not": nested(depth - 1)}


LEAF = {"path": "/data", "exists": True}


@pytest.mark.parametrize(
    ("condition", "pointer"),
    [
        ([], ""),
        ({}, ""),
        ({"path": "/data"}, ""),
        ({"path": "/data", "and": []}, ""),
        ({"and": []}, "/and"),
        ({"and": {}}, "/and"),
        ({"and": [LEAF, {"or": [LEAF, 1]}]}, "/and/1/or/1"),
        ({"and": [LEAF], "equals": 1}, "/equals"),
        ({"not": [LEAF]}, "/not"),
        ({"path": "/data/x", "matches": "a"}, "/matches"),
        ({"path": "/data/x", "a/b~c": 1}, "/a~1b~0c"),
        ({"path": "/data/x", "gt": "1"}, "/gt"),
        ({"path": "/data/x", "gt": True}, "/gt"),
        ({"path": "/data/x", "in": []}, "/in"),
        ({"path": "/data/x", "in": "abc"}, "/in"),
        ({"path": "/data/x", "in": [0] * (filters.VALUES_MAX + 1)}, "/in"),
        ({"path": "/data/x", "exists": 1}, "/exists"),
        ({"path": "/user/id", "exists": True}, "/path"),
        ({"path": "", "exists": True}, "/path"),
        ({"path": 1, "exists": True}, "/path"),
        ({"path": "/data/~2", "exists": True}, "/path"),
        ({"path": "data..x", "exists": True}, "/path"),
        ({"path": "/data" + "/a" * filters.SEGMENTS_MAX, "exists": True}, "/path"),
        (nested(filters.DEPTH_MAX + 1), "/not" * filters.DEPTH_MAX),
        ({"or": [LEAF] * filters.CONDITIONS_MAX}, f"/or/{filters.CONDITIONS_MAX - 1}"),
        ({"path": "/data", "equals": "x" * filters.SIZE_MAX_BYTES}, ""),
    ],
)
def test_what_is_refused_names_the_place(condition: Any, pointer: str) -> None:
    with pytest.raises(FilterRefused) as caught:
        parse(condition)
    assert caught.value.pointer == pointer


def test_the_deepest_and_the_longest_are_taken() -> None:
    assert parse(nested(filters.DEPTH_MAX))(EVENT) in (True, False)
    assert parse({"or": [LEAF] * (filters.CONDITIONS_MAX - 1)})(EVENT) is True
