"""Pages: lists are answered as `{items, next_cursor}`; a cursor is opaque, and good for the list that gave it.

A cursor holds the id after which the next page starts. Ids sort as time does, so rows that come or go between two
pages neither repeat nor skip others. Refuses limits past PAGE_LIMIT_ROWS, cursors it did not make, and those of a list
of other things: their ids sort before or after all of these, which would look like an empty page.

    EndpointPage = Annotated[Page, pages_of("ep")]
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query

from shared.kernel.errors import BadInput
from shared.kernel.ids import is_id

PAGE_LIMIT_ROWS = 100
PAGE_ROWS = 50
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page:
    limit: int
    after: str | None
    of_what: str = ""  # with keys: whose cursors these are

    @property
    def rows(self) -> int:
        """How many to ask for: one more than is shown tells whether there is a next page."""
        return self.limit + 1

    def of(self, rows: Sequence[Row], show: Callable[[Row], Any], key: Callable[[Row], str]) -> dict[str, Any]:
        """`rows` is what was found for `self.rows`; `key` gives the id of a row."""
        page = rows[: self.limit]
        more = len(rows) > self.limit
        return {"items": [show(row) for row in page], "next_cursor": encode(key(page[-1])) if more else None}

    def of_keys(self, rows: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        """The same of (key, what is shown), for `pages_of_keys`."""
        page, more = rows[: self.limit], len(rows) > self.limit
        return {
            "items": [shown for _, shown in page],
            "next_cursor": encode_key(self.of_what, page[-1][0]) if more else None,
        }


def encode(last: str) -> str:
    return urlsafe_b64encode(f"1{last}".encode()).decode().rstrip("=")


def decode(cursor: str, prefix: str) -> str:
    """`prefix` is that of the ids in this list. Raises BadInput."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    if not text.startswith("1") or not is_id(text[1:], text[1:].partition("_")[0]):
        raise _refused("this cursor was not given by a list of ours", cursor)
    if not is_id(text[1:], prefix):
        raise _refused("this cursor was given by another list", cursor)
    return text[1:]


def pages_of(prefix: str) -> Any:
    """A dependency: the wanted Page of a list of things whose ids have this prefix."""

    async def page_of(
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT_ROWS, description="rows of one page")] = PAGE_ROWS,
        cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before")] = None,
    ) -> Page:
        return Page(limit, decode(cursor, prefix) if cursor else None)

    return Depends(page_of)


def pages_of_keys(of_what: str, cursor_chars: int) -> Any:
    """As `pages_of`, for a list of things that have no ids: `after` is whatever key the page before ended with.

    `of_what` is one word that no other list has: it stands in the cursor, as the prefix does in an id.
    """

    async def page_of(
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT_ROWS, description="rows of one page")] = PAGE_ROWS,
        cursor: Annotated[
            str | None, Query(max_length=cursor_chars, description="`next_cursor` of the page before")
        ] = None,
    ) -> Page:
        return Page(limit, _decode_key(cursor, of_what) if cursor else None, of_what)

    return Depends(page_of)


def encode_key(of_what: str, last: str) -> str:
    return urlsafe_b64encode(f"3{of_what} {last}".encode()).decode().rstrip("=")


def _decode_key(cursor: str, of_what: str) -> str:
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    start = f"3{of_what} "
    if not text.startswith(start) or "\0" in text:
        raise _refused("this cursor was not given by this list", cursor)
    return text.removeprefix(start)


def _refused(words: str, cursor: str) -> BadInput:
    return BadInput(words, place="query", pointer="/cursor", found=cursor)
