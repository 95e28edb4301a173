"""What a request begins with: the receiver can tell head from body, and a value cannot begin a header of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from services.webhooks.exchange import Route, _lines

ALWAYS = {"User-Agent": "Holdfast-Webhooks/1"}


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("https://example.com/hooks/a%20b?x=%26", "/hooks/a%20b?x=%26", "example.com"),
        ("http://example.com:8080", "/", "example.com:8080"),
        ("https://example.com:443/a#part", "/a", "example.com"),
        ("http://[2001:db8::1]:81/", "/", "[2001:db8::1]:81"),
    ],
)
async def test_the_head_names_what_was_judged(url: str, target: str, host: str) -> None:
    head = Route.to(URL(url, encoded=True), ALWAYS).head
    assert head == f"POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Holdfast-Webhooks/1\r\n"


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_lines_are_as_many_as_headers_or_nothing_is_sent(headers: dict[str, str]) -> None:
    try:
        lines = _lines(headers)
    except ValueError:
        assert any(ord(char) < 32 or ord(char) == 127 for pair in headers.items() for char in "".join(pair))
        return
    assert lines.replace("\r\n", "\n").count("\n") == len(headers)
    assert "\r" not in lines.replace("\r\n", "")


@pytest.mark.parametrize("value", ["a\r\nX-More: 1", "a\nX-More: 1", "a\rb", "a\0b", "\x7f"])
def test_a_value_with_a_control_character_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        _lines({"X-Given": value})
