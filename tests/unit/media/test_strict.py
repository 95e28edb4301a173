"""Dataclasses from JSON: what is right comes in unchanged, what is wrong is told with a pointer."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.strict import Range, WrongField, check, read, wire
from shared.kernel.errors import BadInput


@dataclass(frozen=True)
class Inner:
    count: Annotated[int, Range(1, 9)]
    share: float = 0.5

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Outer:
    name: Annotated[str, Range(1, 5)]
    items: Annotated[tuple[Inner, ...], Range(0, 2)] = ()
    place: Literal["a", "b"] | tuple[float, float] = "a"
    most: Annotated[int, Range(0, 3)] | None = None
    on: bool = False

    def __post_init__(self) -> None:
        check(self)


inners = st.builds(Inner, st.integers(1, 9), st.floats(allow_nan=False, allow_infinity=False))
outers = st.builds(
    Outer,
    st.text(min_size=1, max_size=5),
    st.lists(inners, max_size=2).map(tuple),
    st.sampled_from(["a", "b"]) | st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    st.none() | st.integers(0, 3),
    st.booleans(),
)


@given(outers)
def test_what_is_right_survives_the_trip_through_json(value):
    assert read(Outer, json.loads(json.dumps(wire(value)))) == value


@pytest.mark.parametrize(
    ("data", "pointer", "words"),
    [
        ([], "", "must be an object"),
        ({}, "/name", "is missing"),
        ({"name": "x", "nam": 1}, "/nam", "there is no such member; there are name, items"),
        ({"name": "x", "a/b~": 1}, "/a~1b~0", "no such member"),
        ({"name": 5}, "/name", "must be text"),
        ({"name": "123456"}, "/name", "must be 1 to 5 characters"),
        ({"name": "x", "items": {}}, "/items", "must be a list"),
        ({"name": "x", "items": [{"count": 1}] * 3}, "/items", "must be 0 to 2 items"),
        ({"name": "x", "items": [{"count": 1}, {"count": "5"}]}, "/items/1/count", "must be a whole number"),
        ({"name": "x", "items": [{"count": True}]}, "/items/0/count", "must be a whole number"),
        ({"name": "x", "items": [{"count": 1.0}]}, "/items/0/count", "must be a whole number"),
        ({"name": "x", "items": [{"count": 10}]}, "/items/0/count", "must be 1 to 9"),
        ({"name": "x", "items": [{"count": 1, "share": 10**400}]}, None, None),
        ({"name": "x", "items": [{"count": 1, "share": float("nan")}]}, "/items/0/share", "must be a number"),
        ({"name": "x", "items": [{"count": 1, "share": float("inf")}]}, "/items/0/share", "must be a number"),
        ({"name": "x", "items": [7]}, "/items/0", "must be an object"),
        ({"name": "x", "place": "c"}, "/place", "one of a, b or a list"),
        ({"name": "x", "place": [1]}, "/place", "a list of 2"),
        ({"name": "x", "place": [1, "2"]}, "/place", "be a number"),
        ({"name": "x", "most": 4}, "/most", "must be 0 to 3 or null"),
        ({"name": "x", "on": 1}, "/on", "must be true or false"),
    ],
)
def test_what_is_wrong_is_told_with_a_pointer(data, pointer, words):
    if pointer is None:
        read(Outer, data)
        return
    with pytest.raises(BadInput) as caught:
        read(Outer, data)
    assert caught.value.details["pointer"] == pointer
    assert words in caught.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "items", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "items", "place", "most", "on", "other"]), json_values))
def test_whatever_comes_is_read_or_refused(data):
    refused = None
    try:
        read(Outer, data)
    except BadInput as error:
        refused = error
    assert refused is None or refused.details["pointer"].startswith("/")


def test_a_constructor_is_as_strict():
    with pytest.raises(WrongField, match="count: must be 1 to 9"):
        Inner(10)


def test_none_of_a_list_that_is_too_long_is_made(monkeypatch):
    made = []

    def count(one):
        made.append(one)

    monkeypatch.setattr(Inner, "__post_init__", count)
    with pytest.raises(BadInput, match="/items: must be 0 to 2 items") as caught:
        read(Outer, {"name": "x", "items": [{"count": 1}] * 3})
    assert caught.value.details["pointer"] == "/items"
    assert made == []
    read(Outer, {"name": "x", "items": [{"count": 1}] * 2})
    assert len(made) == 2
