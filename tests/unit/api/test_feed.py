"""Reading a feed's pages: what is taken, what is refused, and what is asked next."""

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.feed import (
    DATA_MOST_BYTES,
    ITEMS_MOST,
    FeedBroken,
    Page,
    conditions,
    follow,
    read_page,
)
from services.api.store_sync import Position


def body(*items: object, cursor: object = None) -> bytes:
    return orjson.dumps({"items": items, "next_cursor": cursor})


def test_a_page_is_read() -> None:
    page = read_page(
        body({"id": "a", "version": 1, "data": {"x": 1}, "more": 1}, {"id": "b", "version": 2, "deleted": True})
    )
    assert [(item.id, item.version, item.data) for item in page.items] == [("a", 1, '{"x":1}'), ("b", 2, None)]
    assert page.next_cursor is None
    assert read_page(b'{"items": [], "next_cursor": ""}').next_cursor is None


@pytest.mark.parametrize(
    "given",
    [
        b"", b"null", b"[]", b"{}", b"<html>", b'{"items": {}}', b"\xff", b'{"items": [', b"[" * 5_000,
        body({"id": "", "version": 1}), body({"id": "a"}), body({"id": "a", "version": "1"}),
        body({"id": "a", "version": -1}), body({"id": "a", "version": 1 << 62}), body({"id": "a", "version": 1.5}),
        body({"id": "a", "version": True}), body({"id": "a\0", "version": 1}), body({"id": "a" * 501, "version": 1}),
        body({"id": "a", "version": 1, "data": []}), body(cursor=5), body(cursor="a\nb"), body(cursor="a" * 501),
        body(*[{"id": str(n), "version": 1} for n in range(ITEMS_MOST + 1)]),
        body({"id": "a", "version": 1, "data": {"x": "y" * DATA_MOST_BYTES}}),
    ],
)  # fmt: skip
def test_what_is_no_page_is_refused_in_one_sentence(given: bytes) -> None:
    with pytest.raises(FeedBroken) as refused:
        read_page(given)
    assert refused.value.kind in ("malformed", "too_large")
    assert len(str(refused.value)) <= 300


@pytest.mark.parametrize("number", ["12345678901234567890123", "18446744073709551616", "-9223372036854775809"])
def test_a_whole_number_that_cannot_be_kept_is_refused_by_its_item(number: str) -> None:
    page = '{"items": [{"id": "a", "version": 1}, {"id": "b", "version": 1, "data": {"x": [%s]}}]}'
    with pytest.raises(FeedBroken, match="item b: Integer exceeds 64-bit range"):
        read_page((page % number).encode())
    with pytest.raises(FeedBroken, match="no JSON"):
        read_page((page % ("9" * 5_000)).encode())
    assert read_page((page % f'"{number}"').encode()).items[1].data == f'{{"x":["{number}"]}}'


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "9999999999999999999", "1e+22"])
def test_a_number_that_can_be_kept_is_kept_as_it_is(number: str) -> None:
    page = read_page(b'{"items": [{"id": "a", "version": 1, "data": {"x": %s}}]}' % number.encode())
    assert orjson.loads(page.items[0].data or "") == {"x": orjson.loads(number)}
    assert type(orjson.loads(number)) is (float if "e" in number else int)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_page_or_refused(given: bytes) -> None:
    with contextlib.suppress(FeedBroken):
        read_page(given)


CURSOR = st.sampled_from(["", "a", "b"])
TEXT = st.none() | st.text(max_size=10)


@given(CURSOR, st.none() | CURSOR.filter(bool), TEXT, TEXT, st.none() | CURSOR)
def test_conditions_are_only_ever_those_of_the_page_that_is_asked_for(
    cursor: str, following: str | None, etag: str | None, modified: str | None, valid_for: str | None
) -> None:
    before = Position(3, cursor, valid_for, "old", None)
    then = follow(before, Page([], following), etag, modified)
    assert (then.revision, then.cursor) == (4, following or "")
    for position in (before, then):
        assert not conditions(position) or position.valid_for == position.cursor
    if then.valid_for != before.valid_for or then.etag != before.etag:
        assert then.valid_for == cursor, "what a server said of one page is not said of another"
    for value in conditions(then).values():
        assert value.isprintable()


def test_a_list_is_asked_for_from_its_beginning_and_a_log_from_its_end() -> None:
    start = Position()
    first = follow(start, Page([], "p2"), '"one"', None)
    assert conditions(first) == {}
    last = follow(first, Page([], None), '"two"', None)
    assert (last.cursor, conditions(last)) == ("", {"If-None-Match": '"one"'})
    end = follow(first, Page([], "p2"), '"three"', "Sat, 31 Jan 2026 12:00:00 GMT")
    assert end.cursor == "p2"
    assert conditions(end) == {"If-None-Match": '"three"', "If-Modified-Since": "Sat, 31 Jan 2026 12:00:00 GMT"}
