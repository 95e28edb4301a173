"""Instants in a query: the blank that a `+` becomes, and what is refused."""

import pytest

from shared.kernel.errors import BadInput
from shared.runtime.instants import instant_in_query


def test_a_blank_is_a_plus_that_nobody_escaped() -> None:
    assert instant_in_query("since", "1970-01-01T01:00:00 01:00") == 0
    assert instant_in_query("since", "1970-01-01T00:00:01Z") == 1_000_000
    assert instant_in_query("since", "9999-12-31T23:59:59+14:00") < 253_402_300_800_000_000


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2026-01-31", "2026-01-31T12:00:00", "1969-12-31T23:59:59Z", "9" * 40, "9999-12-31T23:59:59-14:00"],
)
def test_what_is_no_instant_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(BadInput, match="since must be an instant") as caught:
        instant_in_query("since", text)
    assert (caught.value.details["pointer"], caught.value.details["found"]) == ("/since", text)
