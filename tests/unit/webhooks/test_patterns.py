"""Event types and patterns: what is one, and what matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.patterns import OPERATIONAL, TYPE_MAX_CHARS, Matcher, is_event_type, is_pattern, matches

segment = st.text("ab1_-", min_size=1, max_size=2)
event_types = st.lists(segment, min_size=1, max_size=4).map(".".join)
patterns = st.one_of(event_types, event_types.map(lambda text: text + ".*"), st.just("*"))


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("*", "media.asset.processed.v1", True),
        ("media.*", "media.asset.processed.v1", True),
        ("media.*", "media.asset", True),
        ("media.*", "media", False),
        ("media.*", "mediation.asset", False),
        ("media.asset", "media.asset", True),
        ("media.asset", "media.asset.processed", False),
        ("media.asset.*", "media.assets.x", False),
        ("Media.*", "media.asset", False),
    ],
)
def test_matching_by_example(pattern: str, event_type: str, expected: bool) -> None:
    assert matches(pattern, event_type) is expected
    assert Matcher([([pattern], 1)]).of(event_type) == ([1] if expected else [])


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a*", "*", "ä", "a\n", "a/b", "a" * 129])
def test_what_is_no_event_type(text: str) -> None:
    assert not is_event_type(text)


@pytest.mark.parametrize("text", ["", "**", "*.a", "a.*.b", "a.*.*", ".*", "a*", "a.", "*.*", "a.*\n"])
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


@given(event_types)
def test_a_type_is_a_pattern_and_matches_itself(event_type: str) -> None:
    assert is_event_type(event_type)
    assert is_pattern(event_type)
    assert is_pattern(event_type + ".*")
    assert matches(event_type, event_type)
    assert matches(event_type + ".*", event_type + ".x")


@given(st.lists(st.lists(patterns, max_size=4), max_size=8), event_types)
def test_a_matcher_says_what_each_pattern_says_in_order(subscribed: list[list[str]], event_type: str) -> None:
    expected = [n for n, own in enumerate(subscribed) if any(matches(pattern, event_type) for pattern in own)]
    assert Matcher((own, n) for n, own in enumerate(subscribed)).of(event_type) == expected


def test_a_type_may_be_as_long_as_the_bound() -> None:
    assert is_event_type("a" * TYPE_MAX_CHARS)


@given(st.sampled_from(sorted(OPERATIONAL)))
def test_operational_events_are_for_who_asked_by_name(event_type):
    pairs = [(["*"], "all"), ([event_type], "exact"), ([event_type.split(".")[0] + ".*"], "below"), (["other.*"], "no")]
    assert Matcher(pairs).of(event_type) == ["exact", "below"]
    assert [value for (patterns, value) in pairs if matches(patterns[0], event_type)] == ["exact", "below"]
