import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.errors import BadInput
from shared.kernel.ids import new_id
from shared.runtime.pages import Page, decode, encode


@given(st.sampled_from(["job", "ep", "evt", "user"]))
def test_a_cursor_comes_back_as_it_was(prefix: str) -> None:
    last = new_id(prefix)
    assert decode(encode(last), prefix) == last


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused_and_nothing_else_raised(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        decode(text, "job")
    assert refused.value.details["pointer"] == "/cursor"


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(BadInput, match="another list") as refused:
        decode(encode(new_id("ep")), "job")
    assert refused.value.details["place"] == "query"


@given(st.integers(0, 30), st.integers(1, 10))
def test_there_is_a_next_page_exactly_if_rows_are_left(count: int, limit: int) -> None:
    page = Page(limit, None)
    ids = [new_id("job") for _ in range(count)]
    shown = page.of(ids[: page.rows], lambda row: row, lambda row: row)
    assert shown["items"] == ids[:limit]
    assert (shown["next_cursor"] is not None) == (count > limit)
    if shown["next_cursor"]:
        assert decode(shown["next_cursor"], "job") == ids[limit - 1]
