"""Bounds of bodies and heads, without a server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.kernel.errors import TooLarge
from shared.runtime.bodies import (
    HEADERS_LIMIT_BYTES,
    URL_LIMIT_BYTES,
    BodyRefused,
    HeadTooLargeError,
    Limits,
    Line,
    UrlTooLongError,
    bounded,
    check_head,
    check_length,
)


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 400))
async def test_a_stream_passes_exactly_if_it_fits(chunks: list[bytes], limit: int) -> None:
    left = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    left.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    receiving, fits = bounded(receive, limit), sum(map(len, chunks)) <= limit

    async def read() -> None:
        while (await receiving())["more_body"]:
            pass

    if fits:
        await read()
        assert left == []
        return
    with pytest.raises(BodyRefused) as refused:
        await read()
    assert refused.value.status_code == 413
    assert refused.value.error.details["limit_bytes"] == limit


@pytest.mark.parametrize(
    ("declared", "refused"),
    [("10", False), ("11", True), ("9" * 5000, True), (None, False), ("-5", False), ("x", False)],
)
def test_a_declared_length_is_judged_before_the_body(declared: str | None, refused: bool) -> None:
    if not refused:
        check_length(declared, 10)
        return
    with pytest.raises(TooLarge, match="the limit is 10"):
        check_length(declared, 10)


def test_limits_go_by_path_template() -> None:
    limits = Limits(5, {"/v1/media": 100, "/v1/uploads/{upload_id}": 50})
    paths = ("/v1/media", "/v1/uploads/a", "/v1/uploads/a/b", "/v1/media/presets", "/v1/jobs")
    assert [limits.of(path) for path in paths] == [100, 50, 5, 5, 5]


def test_heads_are_bounded() -> None:
    scope: dict[str, Any] = {"headers": [(b"a", b"b")], "path": "/", "raw_path": b"/", "query_string": b""}
    check_head(scope)
    with pytest.raises(HeadTooLargeError):
        check_head({**scope, "headers": [(b"a", b"b" * HEADERS_LIMIT_BYTES)]})
    with pytest.raises(HeadTooLargeError):
        check_head({**scope, "headers": [(b"a", b"b")] * 101})
    with pytest.raises(UrlTooLongError):
        check_head({**scope, "query_string": b"q" * URL_LIMIT_BYTES})


@given(
    st.text(max_size=5), st.sampled_from("\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029") | st.characters(), st.text(max_size=5)
)
def test_a_line_is_one_however_lines_are_told_apart(before: str, char: str, after: str) -> None:
    try:
        line = TypeAdapter(Line).validate_python(f"a{before}{char}{after}b")
    except ValidationError:
        return
    assert line.splitlines() == [line]
