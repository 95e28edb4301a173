"""Bodies, and the plan of an event's deliveries: pure, and the same whenever it is written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.events import Subscription, new_event
from services.webhooks.payload import PAYLOAD_MAX_BYTES, check_instant, encode_body
from services.webhooks.publishing import MARGIN_S, plan
from shared.kernel.errors import BadInput, TooLarge
from shared.kernel.ids import new_id

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(
    st.characters(exclude_categories=["Cs"])
)  # fmt: skip
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner), max_leaves=10)


@given(st.dictionaries(st.text("abcä"), values))
def test_a_body_says_what_was_given(data: dict[str, Any]) -> None:
    body = encode_body("a.b", "2026-01-31T12:00:00Z", data)
    assert json.loads(body) == {"type": "a.b", "timestamp": "2026-01-31T12:00:00Z", "data": data}
    assert "\x00" not in body


def test_a_body_is_bounded_in_bytes_not_characters() -> None:
    room = PAYLOAD_MAX_BYTES - len(encode_body("a", "t", {"x": ""}))
    encode_body("a", "t", {"x": "y" * room})
    with pytest.raises(TooLarge):
        encode_body("a", "t", {"x": "y" * (room + 1)})
    with pytest.raises(TooLarge):
        encode_body("a", "t", {"x": "ä" * (room // 2 + 1)})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), object(), "\ud800", {1, 2}])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(BadInput):
        encode_body("a", "t", {"x": value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.500000Z"),
    ],
)
def test_an_instant_is_shown_in_utc(text: str, expected: str) -> None:
    assert check_instant(text) == expected


@pytest.mark.parametrize("text", ["", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z"])
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(BadInput):
        check_instant(text)


def test_a_plan_bounds_each_delivery_as_its_endpoint_says() -> None:
    event = new_event(new_id("evt"), "a.b", {}, tenant="acme", timestamp="t", now_us=7)
    accepted = plan(event, [Subscription("ep_1", 4, 5.0), Subscription("ep_2", 1, 30.0)])
    assert [(job.max_attempts, job.timeout_s, job.tenant, job.run_at) for job in accepted.jobs] == [
        (4, 5.0 + MARGIN_S, "acme", 7),
        (1, 30.0 + MARGIN_S, "acme", 7),
    ]
    assert [json.loads(job.args) for job in accepted.jobs] == [
        {"event_id": event.id, "endpoint_id": endpoint_id} for endpoint_id in ("ep_1", "ep_2")
    ]
    (_, events), (_, links) = accepted.inserts
    assert [row[0] for row in events] == [event.id]
    assert [row[2] for row in links] == [job.id for job in accepted.jobs]


def test_an_event_that_nobody_wants_is_kept_and_delivered_to_nobody() -> None:
    event = new_event(new_id("evt"), "a.b", {}, tenant="acme", timestamp="t", now_us=7)
    accepted = plan(event, [])
    assert accepted.jobs == []
    assert len(accepted.inserts) == 1
