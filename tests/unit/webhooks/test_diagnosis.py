"""Why a signature does not match: each way in which receivers get it wrong has its own word."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.diagnosis import diagnose
from services.webhooks.signing import new_key_pair, new_secret, signature_headers

SECRET, OTHER = new_secret(), new_secret()
KEY, PUBLIC = new_key_pair()
BODY = '{"type":"a.b","timestamp":"2026-11-22T10:00:00.000000Z","data":{"name":"Zoë","n":1.50}}'.encode()
NOW = 1_795_341_600
HEADERS = signature_headers("evt_1", NOW, BODY, [SECRET])


def why(headers: dict[str, str] = HEADERS, body: bytes = BODY, *secrets: str, now_s: float = NOW, **more: bytes) -> str:
    return diagnose(headers, body, secrets or [SECRET], now_s=now_s, **more).code


def test_what_was_signed_is_valid() -> None:
    assert why() == "valid"
    assert why({name.title(): f" {value} " for name, value in HEADERS.items()}) == "valid"
    assert why(HEADERS, BODY, OTHER, SECRET) == "valid"
    both = signature_headers("evt_1", NOW, BODY, [SECRET, KEY])
    assert why(both, BODY, PUBLIC) == why(both, BODY, SECRET) == why(both, BODY, KEY) == "valid"


@pytest.mark.parametrize(
    "body",
    [
        BODY + b"\n", BODY + b"\r\n", b"  " + BODY + b"\t", b"\xef\xbb\xbf" + BODY,
        json.dumps(BODY.decode()).encode(),
        BODY.replace(b",", b", ").replace(b'":', b'": '),
        BODY.replace("ë".encode(), b"\\u00eb"),
    ],
)  # fmt: skip
def test_a_changed_body_is_told_from_a_wrong_secret(body: bytes) -> None:
    signed = BODY.replace(b"1.50", b"1.5")  # what Python writes for it
    headers = signature_headers("evt_1", NOW, signed, [SECRET])
    assert why(headers, body.replace(b"1.50", b"1.5")) == "body_changed"


def test_a_body_of_which_nothing_is_known_may_be_either() -> None:
    assert why(HEADERS, BODY, OTHER) == "no_match"
    assert why(HEADERS, b"{}") == "no_match"
    assert why(HEADERS, BODY, OTHER, original=BODY) == "wrong_secret"
    found = diagnose(HEADERS, BODY[:-3], [SECRET], now_s=NOW, original=BODY)
    assert (found.code, f"byte {len(BODY) - 3}" in found.words) == ("body_changed", True)


def test_times() -> None:
    assert why(now_s=NOW + 300) == why(now_s=NOW - 300) == "valid"
    assert why(now_s=NOW + 301) == "timestamp_stale"
    assert why(now_s=NOW - 301) == "timestamp_future"
    assert why({**HEADERS, "webhook-timestamp": f"{NOW}000"}) == "timestamp_malformed"
    assert why({**HEADERS, "webhook-timestamp": "2026-11-22"}) == "timestamp_malformed"
    assert why({**HEADERS, "webhook-timestamp": str(NOW + 1)}) == "no_match"


def test_headers_and_secrets() -> None:
    for name in HEADERS:
        assert why({key: value for key, value in HEADERS.items() if key != name}) == "header_missing"
    assert why({**HEADERS, "webhook-id": "evt.1"}) == "id_malformed"
    assert diagnose(HEADERS, BODY, [], now_s=NOW).code == "secret_missing"
    assert why(HEADERS, BODY, SECRET[6:]) == "secret_unreadable"
    quoted = diagnose(HEADERS, BODY, [f'"{SECRET}"'], now_s=NOW)
    assert (quoted.code, "without the spaces or quotes" in quoted.words) == ("secret_unreadable", True)
    assert SECRET not in quoted.words
    assert why(HEADERS, BODY, PUBLIC) == "other_version"
    assert why(signature_headers("evt_1", NOW, BODY, [KEY])) == "other_version"


@given(st.binary(max_size=200), st.text(max_size=60), st.text(max_size=20), st.text(max_size=40))
def test_nothing_that_comes_is_an_error_or_valid(body: bytes, signature: str, stamp: str, event: str) -> None:
    headers = {"webhook-id": event, "webhook-timestamp": stamp, "webhook-signature": signature}
    assert not diagnose(headers, body, [SECRET, PUBLIC], now_s=NOW).valid
