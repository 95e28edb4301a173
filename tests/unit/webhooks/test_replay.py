"""Which events an endpoint has missed, and steps that are cut where a transaction ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.replay import SENT, Candidate, Step, event_kind, happening, missing_kind
from services.webhooks.standing import Happening, Terms

WANTED = Happening("a.b", (), lambda: None)
ON = Terms(0, True, None, ("a.*",))
OFF = Terms(0, False, "x", ("a.*",))
ELSE = Terms(0, True, None, ("c.*",))


def row(**given: Any) -> dict[str, Any]:
    plain = {"job_id": None, "job_state": None, "error_type": None, "again": 0, "spreading": 0, "created_at": 10}
    return {**plain, "erased_at": None, **given}


@pytest.mark.parametrize(
    ("found", "made_at", "then", "kind"),
    [
        (row(), 20, None, "before_endpoint"),
        (row(), 5, OFF, "disabled"),
        (row(), 5, ELSE, "filtered"),
        (row(), 5, ON, "unattempted"),
        (row(), 5, None, "unattempted"),
        (row(erased_at=11), 5, ON, "erased"),
        (row(spreading=1), 5, ON, "pending"),
        (row(job_id="j", job_state="completed"), 5, ON, None),
        (row(job_id="j", job_state="dead", error_type="DeliveryExhausted"), 5, ON, None),
        (row(job_id="j", job_state="cancelled", error_type="Cancelled"), 5, ON, None),
        (row(job_id="j", job_state="cancelled", error_type="EndpointDisabled"), 5, ON, "disabled"),
        (row(job_id="j", error_type="EndpointDisabled"), 5, ON, "disabled"),
        (row(job_id="j", error_type="EndpointDisabled", again=1), 5, ON, None),
        (row(job_id="j"), 5, ON, None),
    ],
)
def test_why_an_endpoint_has_missed_it(
    found: dict[str, Any], made_at: int, then: Terms | None, kind: str | None
) -> None:
    assert missing_kind(found, made_at, then, WANTED) == kind


@pytest.mark.parametrize(
    ("found", "erased", "kind"),
    [
        (row(), False, "unattempted"),
        (row(), True, "erased"),
        (row(job_id="j", job_state="running"), True, "pending"),
        (row(job_id="j", job_state="completed", again=1), False, "pending"),
        (row(job_id="j", job_state="dead"), False, "failed"),
        (row(job_id="j", job_state="cancelled"), False, "cancelled"),
        (row(job_id="j", job_state="completed"), False, "delivered"),
        (row(job_id="j"), False, "delivered"),
    ],
)
def test_what_an_endpoint_has_had_of_one_event(found: dict[str, Any], erased: bool, kind: str) -> None:
    assert event_kind(found, erased=erased) == kind


@given(st.lists(st.sampled_from([*sorted(SENT), "pending", "erased"]), max_size=30), st.integers(1, 10))
def test_cuts_lose_nothing_and_repeat_nothing(kinds: list[str], most: int) -> None:
    rows = [Candidate(f"{index:03}", f"e{index}", {}, kind) for index, kind in enumerate(kinds)]
    sent, position = [], ""
    while True:
        left = [one for one in rows if one.position > position]
        if not left:
            break
        step = Step(left[-1].position, len(left), left, done=True).cut(most)
        assert len(step.to_send) <= most
        assert step.position > position
        sent += [one.position for one in step.to_send]
        position = step.position
    assert sent == [one.position for one in rows if one.kind in SENT]


def test_a_payload_is_read_as_accepting_reads_it() -> None:
    """A filter that compares a number above 64 bits decides the same of a replay."""
    event = happening({"id": "e", "type": "a.b", "channels": None}, {"e": b'{"n":18446744073709551617}'})
    assert event.payload() == {"n": 2**64 + 1}
    assert happening({"id": "e", "type": "a.b", "channels": None}, {}).payload() is None
