"""A feed as its server tells it: pages of items under cursors, with validators. Pure.

A page is `{"items": [{"id", "version", "data" or "deleted": true}], "next_cursor"}`. Where it ends decides what is
asked next time: without `next_cursor` the beginning again (a list: the validators of its first page stand for all of
it), with its own cursor that same page again (a log: what is new comes after it). Refuses what is no such page, whole.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.api.store_sync import Item, Position

ITEMS_MOST = 1_000
TEXT_MOST_CHARS = 500  # of an id, a cursor, a validator
CURSOR_MOST_CHARS = 1_000  # as it stands in a URL
DATA_MOST_BYTES = 64 * 1024
_MANY_DIGITS = re.compile(rb"\d{19}")  # the fewest that 64 bits may not hold
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Text = Annotated[str, Field(max_length=TEXT_MOST_CHARS, pattern=_PRINTABLE)]


class FeedBroken(Exception):
    """The server's answer is none that a repeat would change: one sentence, and `kind` in a word."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class _Item(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    id: Annotated[Text, Field(min_length=1)]
    version: int = Field(ge=0, lt=1 << 62)
    deleted: bool = False
    data: dict[str, Any] = {}


class _Page(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    items: list[_Item] = Field(max_length=ITEMS_MOST)
    next_cursor: Text | None = None


@dataclass(frozen=True, slots=True)
class Page:
    items: Sequence[Item]
    next_cursor: str | None

    def ends_at(self, cursor: str) -> bool:
        """Nothing more is to be asked now."""
        return self.next_cursor is None or self.next_cursor == cursor


def read_page(body: bytes) -> Page:
    """Raises FeedBroken."""
    try:
        page = _Page.model_validate(_parsed(body))
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = "/".join(map(str, first["loc"]))
        raise FeedBroken("malformed", f"the feed's page is not one: {where}: {first['msg']}"[:300]) from None
    items = []
    for item in page.items:
        data = None if item.deleted else _encoded(item)
        if data is not None and len(data) > DATA_MOST_BYTES:
            words = f"item {item.id[:100]} has {len(data)} characters of data, the limit is {DATA_MOST_BYTES}"
            raise FeedBroken("too_large", words)
        items.append(Item(item.id, item.version, data))
    if len(quote(page.next_cursor or "", safe="")) > CURSOR_MOST_CHARS:
        raise FeedBroken("malformed", f"the next cursor is longer than {CURSOR_MOST_CHARS} characters in a URL")
    return Page(items, page.next_cursor or None)


def _parsed(body: bytes) -> Any:
    """Whole numbers above 64 bits, which orjson rounds, stay what they are: `_encoded` refuses them."""
    try:
        found = orjson.loads(body)
        return json.loads(body) if _MANY_DIGITS.search(body) else found
    except (ValueError, RecursionError) as wrong:
        raise FeedBroken("malformed", f"the feed's page is no JSON: {str(wrong)[:200]}") from None


def _encoded(item: _Item) -> str:
    try:
        return orjson.dumps(item.data).decode()
    except TypeError as wrong:  # nested deeper than can be written again, or a whole number above 64 bits
        raise FeedBroken("malformed", f"item {item.id[:100]}: {wrong}"[:300]) from None


def conditions(position: Position) -> dict[str, str]:
    """Headers that make an unchanged page cost nothing; only where the validators are of that very page."""
    if position.valid_for != position.cursor:
        return {}
    given = {"If-None-Match": position.etag, "If-Modified-Since": position.last_modified}
    return {name: value for name, value in given.items() if value}


def follow(position: Position, page: Page, etag: str | None, last_modified: str | None) -> Position:
    """Where to go on after a page; `revision` is that of the position when it is written."""
    then = replace(position, revision=position.revision + 1, cursor=page.next_cursor or "")
    if not position.cursor or position.cursor == page.next_cursor:  # asked again one day, with what is said of it now
        then = replace(then, valid_for=position.cursor, etag=_kept(etag), last_modified=_kept(last_modified))
    return then


def _kept(value: str | None) -> str | None:
    fits = value is not None and len(value) <= TEXT_MOST_CHARS and value.isascii() and value.isprintable()
    return value if fits else None
