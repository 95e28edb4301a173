"""What an answer means, and what is kept of its body."""

import gzip
import json
import zlib
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.answers import BODY_CAP_BYTES, RETRY_AFTER_MAX_S, Answer, body_text, classify, clean, control_of
from shared.runtime.retry_after import parse_retry_after

NOW_S = 1_700_000_000.0


def answer(status: int | None, error: str | None = None, **headers: str) -> Answer:
    pairs = tuple((name.replace("_", "-").title(), value) for name, value in headers.items())
    return Answer(status, error, None, 1.0, pairs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "success"), (201, "success"), (204, "success"), (299, "success"),
        (100, "retry"), (301, "retry"), (302, "retry"), (308, "retry"), (400, "retry"), (401, "retry"), (404, "retry"),
        (410, "gone"), (429, "throttled"), (500, "retry"), (502, "throttled"), (503, "retry"), (504, "throttled"),
    ],
)  # fmt: skip
def test_the_status_decides(status: int, kind: str) -> None:
    assert classify(answer(status), now_s=NOW_S).kind == kind


def test_without_a_status_the_error_is_the_reason() -> None:
    outcome = classify(answer(None, "dns"), now_s=NOW_S)
    assert (outcome.kind, outcome.reason, outcome.retry_after_s) == ("retry", "dns", None)


def test_a_2xx_whose_body_failed_is_a_success() -> None:
    assert classify(answer(200, "timeout"), now_s=NOW_S).kind == "success"


def test_retry_after_in_seconds_and_as_a_date() -> None:
    assert classify(answer(429, retry_after="120"), now_s=NOW_S).retry_after_s == 120
    assert classify(answer(503, retry_after=formatdate(NOW_S + 90, usegmt=True)), now_s=NOW_S).retry_after_s == 90
    assert classify(answer(429, retry_after="9999999"), now_s=NOW_S, retry_after_max_s=60).retry_after_s == 60
    assert classify(answer(200, retry_after="120"), now_s=NOW_S).retry_after_s is None


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        ([], None), ([""], None), (["later"], None), (["Abort"], "abort"), ([" DISABLE "], "disable"),
        (["abort, disable"], "disable"), (["abort", "disable"], "disable"), (["disable", "abort"], "disable"),
        (["later", "abort"], "abort"),
    ],
)  # fmt: skip
def test_of_all_that_a_receiver_asks_for_the_stronger_counts(lines: list[str], asked: str | None) -> None:
    assert control_of(Answer(500, None, None, 1.0, tuple(("Webhook-Delivery", line) for line in lines))) == asked


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 101, None),
        ("9" * 99, 86_400.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 86_400.0),
        ("Wed, 99 Oct 2015 99:28:00 GMT", None),
    ],
)
def test_retry_after_is_bounded_or_ignored(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now_s=NOW_S, max_s=RETRY_AFTER_MAX_S) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_breaks_the_reader(value: str) -> None:
    seconds = parse_retry_after(value, now_s=NOW_S, max_s=RETRY_AFTER_MAX_S)
    assert seconds is None or 0 <= seconds <= 86_400


@given(st.binary(max_size=200), st.sampled_from(["", "gzip", "deflate", "br"]), st.booleans())
def test_any_body_becomes_text_that_can_be_stored(raw: bytes, encoding: str, complete: bool) -> None:
    text, _ = body_text(raw, encoding, complete=complete)
    assert "\x00" not in text
    text.encode()
    json.dumps(text)


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=500))
def test_the_three_compressed_forms_read_as_the_plain_one(text: str) -> None:
    raw = text.encode()
    bare = zlib.compressobj(wbits=-15)
    assert body_text(raw, "", complete=True) == (text, False)
    assert body_text(gzip.compress(raw), "gzip", complete=True) == (text, False)
    assert body_text(zlib.compress(raw), "deflate", complete=True) == (text, False)
    assert body_text(bare.compress(raw) + bare.flush(), "deflate", complete=True) == (text, False)


def test_a_bomb_stops_at_the_cap() -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)
    text, truncated = body_text(bomb[: BODY_CAP_BYTES + 1], "gzip", complete=False)
    assert truncated
    assert len(text) == BODY_CAP_BYTES


def test_the_cap_is_exact() -> None:
    assert body_text(b"x" * BODY_CAP_BYTES, "", complete=True) == ("x" * BODY_CAP_BYTES, False)
    assert body_text(b"x" * (BODY_CAP_BYTES + 1), "", complete=False) == ("x" * BODY_CAP_BYTES, True)


def test_messages_are_bounded_and_storable() -> None:
    assert clean("a\x00b\udcff") == "a\ufffdb\ufffd"
    assert len(clean("é" * 1000)) == 300
