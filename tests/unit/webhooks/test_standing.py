"""Whether an event is for an endpoint: its conditions together say what accepting does, and each says what it found."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.events import Subscription
from services.webhooks.filters import parse
from services.webhooks.patterns import Matcher
from services.webhooks.sequence import numbered
from services.webhooks.standing import Happening, Terms, blamed, judge, terms_at, wants

TYPES = st.sampled_from(["a.b", "a.b.c", "c", "a", "b.a"])
PATTERNS = st.lists(st.sampled_from(["a.*", "a.b", "*", "c", "b.*"]), min_size=1, max_size=3)
COMPARED = st.fixed_dictionaries(
    {"path": st.sampled_from(["/data/n", "/data/m", "/type"])},
    optional={"gte": st.integers(0, 3), "equals": st.integers(0, 3), "exists": st.booleans()},
).filter(lambda one: len(one) > 1)
FILTERS = st.recursive(
    COMPARED,
    lambda inner: (
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"not": inner})
    ),
    max_leaves=6,
)
DATA = st.dictionaries(st.sampled_from(["n", "m"]), st.integers(0, 3))


def happening(event_type: str = "a.b", data: dict[str, Any] | None = None, *channels: str) -> Happening:
    payload = None if data is None else {"type": event_type, "timestamp": "t", "data": data}
    return Happening(event_type, channels, lambda: payload)


@given(PATTERNS, TYPES)
def test_patterns_say_what_accepting_does(patterns: list[str], event_type: str) -> None:
    terms = Terms(0, True, None, tuple(patterns))
    accepted = Matcher([(patterns, Subscription("ep", 1, 1.0))]).of(event_type)
    assert wants(terms, happening(event_type, {})) is bool(accepted)


@given(FILTERS, DATA)
def test_a_filter_is_blamed_exactly_when_it_keeps_an_event_out(
    given_filter: dict[str, Any], data: dict[str, Any]
) -> None:
    payload = {"type": "a.b", "timestamp": "t", "data": data}
    words = blamed(given_filter, payload)
    assert bool(words) is not parse(given_filter)(payload)
    assert all(one.startswith("/") for one in words)


def test_each_condition_is_named_with_what_it_found() -> None:
    condition = {"or": [{"path": "/data/n", "gt": 5}, {"path": "/data/kind", "equals": "x"}]}
    terms = Terms(0, False, "410", ("c.*",), condition, ("blue",))
    found = {one.check: one for one in judge(terms, happening("a.b", {"n": 3}, "red"))}
    assert [one.holds for one in found.values()] == [False] * 4
    assert "410" in found["enabled"].words
    assert "c.*" in found["type"].words
    assert "blue" in found["channels"].words
    assert "/or/0/gt" in found["filter"].words
    assert "/or/1/equals" in found["filter"].words
    assert {one.check: one.holds for one in judge(terms, happening())}["filter"] is None


@given(st.lists(st.integers(0, 50), max_size=10), st.integers(0, 60))
def test_terms_are_those_that_held_at_the_instant(instants: list[int], at: int) -> None:
    history = [Terms(one, True, str(index), ("*",)) for index, one in enumerate(sorted(instants))]
    held = [terms for terms in history if terms.at <= at]
    assert terms_at(history, at) == (held[-1] if held else None)


@given(DATA, st.integers(1, 2**53))
def test_a_number_stands_in_front_and_all_else_stays_the_same_bytes(data: dict[str, Any], number: int) -> None:
    body = json.dumps({"type": "a.b", "timestamp": "t", "data": data}).encode()
    sent = numbered(body, number)
    assert json.loads(sent) == {"sequence": number, **json.loads(body)}
    assert sent.endswith(body[1:])
