"""Custom headers of an endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.headers import COUNT_MAX, TOTAL_MAX_CHARS, HeaderRefused, check_headers


def test_ordinary_headers_pass_in_lower_case_and_trimmed() -> None:
    assert check_headers({"Authorization": " Bearer x ", "X-Tenant": "a\tb", "x-empty": ""}) == {
        "authorization": "Bearer x",
        "x-tenant": "a\tb",
        "x-empty": "",
    }


@pytest.mark.parametrize(
    "name",
    [
        "Webhook-Id", "webhook-signature", "WEBHOOK-anything", "Host", "Content-Length", "content-type",
        "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization",
        "Proxy-Connection", "Expect", "Cookie", "X-Forwarded-For", "Sec-Fetch-Mode",
        "", "a b", "a:b", "a\r\nb", "a\n", "é", "a(b)", "x" * 101,
    ],
)  # fmt: skip
def test_names_that_are_reserved_or_no_tokens_are_refused(name: str) -> None:
    with pytest.raises(HeaderRefused) as caught:
        check_headers({"x-fine": "1", name: "v"})
    assert caught.value.name == name[:100]


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\n", "\x00", "\x7f", "é", "x" * 2001])
def test_values_that_could_begin_another_header_are_refused(value: str) -> None:
    with pytest.raises(HeaderRefused):
        check_headers({"x-a": value})


def test_count_total_and_doubles_are_bounded() -> None:
    assert len(check_headers({f"x-{n}": "v" for n in range(COUNT_MAX)})) == COUNT_MAX
    with pytest.raises(HeaderRefused, match="more than"):
        check_headers({f"x-{n}": "v" for n in range(COUNT_MAX + 1)})
    with pytest.raises(HeaderRefused, match="together"):
        check_headers({f"x-{n}": "v" * 2000 for n in range(TOTAL_MAX_CHARS // 2000 + 1)})
    with pytest.raises(HeaderRefused, match="twice"):
        check_headers({"X-A": "1", "x-a": "2"})


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5))
def test_what_passes_holds_no_line_break_and_passes_again(headers: dict[str, str]) -> None:
    try:
        checked = check_headers(headers)
    except HeaderRefused:
        return
    wire = "".join(f"{name}: {value}\r\n" for name, value in checked.items())
    assert len(wire.splitlines()) == len(checked)
    assert check_headers(checked) == checked
