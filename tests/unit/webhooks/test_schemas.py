"""Schemas: what is taken and what is refused and where; and no schema that is taken looks long at any event."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.webhooks.schema_bounds import DEPTH_MAX, SIZE_MAX_BYTES, SchemaRefused
from services.webhooks.schemas import check_data, checked
from shared.kernel.errors import BadInput

TREE = {
    "$defs": {"n": {"properties": {"left": {"$ref": "#/$defs/n"}, "right": {"$ref": "#/$defs/n"}}}},
    "$ref": "#/$defs/n",
}
JSON = {
    "$defs": {"j": {"anyOf": [{"type": "string"}, {"items": {"$ref": "#/$defs/j"}},
                              {"additionalProperties": {"$ref": "#/$defs/j"}}]}},
    "properties": {"x": {"$ref": "#/$defs/j"}},
}  # fmt: skip
LAUGHS = {
    "$defs": {**{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}, "d30": {}},
    "$ref": "#/$defs/d0",
}


def deep(levels: int) -> Any:
    return {} if levels == 0 else {"not": deep(levels - 1)}


@pytest.mark.parametrize(
    "schema",
    [{}, {"type": "object"}, TREE, JSON, {"$anchor": "a", "properties": {"x": {"$ref": "#a"}}},
     {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "$ref": "#/definitions/a"},
     {"$id": "https://example.com/s", "$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}],
)  # fmt: skip
def test_ordinary_ones_are_taken(schema: Any) -> None:
    check_data(checked(schema), "t", {})


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ([], ""),
        ({"type": "foo"}, "/type"),
        ({"$schema": "http://example.com/mine"}, "/$schema"),
        ({"$ref": "http://169.254.169.254/x"}, "/$ref"),
        ({"$ref": "other.json#/a"}, "/$ref"),
        ({"$ref": "#/$defs/none"}, "/$ref"),
        ({"$ref": "#none"}, "/$ref"),
        ({"properties": {"a": {"$id": "http://example.com/a"}}}, "/properties/a"),
        ({"properties": {"a/b": {"pattern": r"(a)\1"}}}, "/properties/a~1b/pattern"),
        ({"$ref": "#"}, ""),
        ({"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "/items/allOf/0"),
        ({"additionalProperties": {"anyOf": [{"$ref": "#"}, {"not": {"$ref": "#"}}]}}, None),
        (LAUGHS, None),
        ({"properties": {f"p{n}": {"$ref": "#"} for n in range(1_900)}}, ""),
        (deep(DEPTH_MAX + 1), "/not" * (DEPTH_MAX + 1)),
        ({"description": "x" * SIZE_MAX_BYTES}, ""),
    ],
)
def test_what_is_refused_names_the_place(schema: Any, pointer: str | None) -> None:
    with pytest.raises(SchemaRefused) as caught:
        checked(schema)
    assert pointer is None or caught.value.pointer == pointer


def test_data_that_does_not_match_is_told_where_and_why() -> None:
    validator = checked({"properties": {"a/b": {"items": {"maximum": 3}}}})
    check_data(validator, "t", {"a/b": [1, 10**30 - 10**30]})
    with pytest.raises(BadInput) as caught:
        check_data(validator, "t", {"a/b": [1, 10**30]})
    details = caught.value.details
    assert (details["pointer"], details["rule"]) == ("/data/a~1b/1", "maximum")
    assert details["schema_pointer"] == "/properties/a~1b/items/maximum"


REFERENCES = st.sampled_from(["#", "#/$defs/a", "#/$defs/b"]).map(lambda to: {"$ref": to})
SUBSCHEMAS = st.recursive(
    REFERENCES | st.sampled_from([True, {}, {"type": "array"}]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).flatmap(
            lambda many: st.sampled_from(["allOf", "anyOf", "oneOf"]).map(lambda name: {name: many})
        ),
        st.dictionaries(
            st.sampled_from(["items", "additionalProperties", "not", "unevaluatedItems", "contains"]), inner, max_size=3
        ),
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2)}),
    ),
    max_leaves=8,
)
DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP, {"a": 1}]


@settings(max_examples=200, deadline=None)
@given(SUBSCHEMAS, SUBSCHEMAS, SUBSCHEMAS)
def test_what_is_taken_is_quick_with_deep_data(root: Any, one: Any, other: Any) -> None:
    schema = {**(root if isinstance(root, dict) else {}), "$defs": {"a": one, "b": other}}
    try:
        validator = checked(schema)
    except SchemaRefused:
        return
    began = time.perf_counter()
    validator.is_valid({"a": DEEP, "b": DEEP})
    assert time.perf_counter() - began < 1.0
