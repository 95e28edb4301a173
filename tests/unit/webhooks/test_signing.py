"""Standard Webhooks signatures, with the official package as the other side."""

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from services.webhooks.signing import (
    BadSecret,
    BadSignature,
    new_key_pair,
    new_secret,
    parse_secret,
    sign,
    signature_headers,
    verify,
)
from shared.kernel.errors import BadInput

ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
STAMP = 1_614_265_330
BODY = b'{"test": 2432232314}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET_SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
PRIVATE_SIGNED = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

ids = st.text(st.characters(categories=("L", "N"), max_codepoint=0x7F), min_size=1, max_size=40)
bodies = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)


def headers(signature: str, stamp: int = STAMP, message_id: str = ID) -> dict[str, str]:
    return {"Webhook-Id": message_id, "Webhook-Timestamp": str(stamp), "Webhook-Signature": signature}


def test_the_published_vectors() -> None:
    assert sign(ID, STAMP, BODY, [SECRET]) == SECRET_SIGNED
    assert sign(ID, STAMP, BODY, [PRIVATE]) == PRIVATE_SIGNED
    assert sign(ID, STAMP, BODY, [PRIVATE, SECRET]) == f"{PRIVATE_SIGNED} {SECRET_SIGNED}"
    verify(headers(SECRET_SIGNED), BODY, [SECRET], now_s=STAMP)
    verify(headers(PRIVATE_SIGNED), BODY, [PUBLIC], now_s=STAMP)
    verify(headers(PRIVATE_SIGNED), BODY, [PRIVATE], now_s=STAMP)


@given(ids, bodies, st.binary(min_size=24, max_size=64))
def test_the_official_package_verifies_what_we_sign(message_id: str, body: str, key: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    raw = body.encode()
    sent = signature_headers(message_id, int(time.time()), raw, [new_secret(), secret])
    Webhook(secret).verify(raw, sent, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(raw + b".", sent, json_parse=False)


@given(ids, bodies, st.binary(min_size=24, max_size=64), st.integers(0, 2**31))
def test_we_verify_what_the_official_package_signs(message_id: str, body: str, key: bytes, stamp: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    signature = Webhook(secret).sign(message_id, datetime.fromtimestamp(stamp, UTC), body)
    verify(headers(signature, stamp, message_id), body.encode(), [secret], now_s=stamp)
    assert sign(message_id, stamp, body.encode(), [secret]) == signature


@given(st.binary(max_size=300), ids, st.integers(0, 2**33))
def test_ed25519_round_trip_and_one_flipped_bit(body: bytes, message_id: str, stamp: int) -> None:
    private, public = PRIVATE, PUBLIC
    signature = sign(message_id, stamp, body, [private])
    verify(headers(signature, stamp, message_id), body, [public], now_s=stamp)
    with pytest.raises(BadSignature):
        verify(headers(signature, stamp, message_id), body + b"\x00", [public], now_s=stamp)
    with pytest.raises(BadSignature):
        verify(headers(signature, stamp + 1, message_id), body, [public], now_s=stamp)


def test_rotation_signs_with_old_and_new_and_either_verifies() -> None:
    old, new = new_secret(), new_secret()
    signature = sign(ID, STAMP, BODY, [new, old])
    for secret in (old, new):
        verify(headers(signature), BODY, [secret], now_s=STAMP)
    with pytest.raises(BadSignature):
        verify(headers(signature), BODY, [new_secret()], now_s=STAMP)


@pytest.mark.parametrize("drift_s", [-301, 301])
def test_a_timestamp_outside_the_tolerance_is_refused(drift_s: int) -> None:
    verify(headers(SECRET_SIGNED), BODY, [SECRET], now_s=STAMP + drift_s / 301 * 300)
    with pytest.raises(BadSignature, match="timestamp"):
        verify(headers(SECRET_SIGNED), BODY, [SECRET], now_s=STAMP + drift_s)


@pytest.mark.parametrize(
    "given_headers",
    [
        {},
        {"webhook-id": ID, "webhook-timestamp": str(STAMP)},
        headers(SECRET_SIGNED) | {"Webhook-Timestamp": "now"},
        headers(SECRET_SIGNED) | {"Webhook-Timestamp": f"{STAMP}.0"},
        headers(SECRET_SIGNED) | {"Webhook-Timestamp": "-1"},
        headers(SECRET_SIGNED, message_id=f"{ID}.1"),
        headers(""),
        headers("v1"),
        headers("v1,"),
        headers("v1a,%%%"),
        headers("v2," + SECRET_SIGNED[3:]),
        headers("v1a," + SECRET_SIGNED[3:]),
        headers("v1,é"),
        headers(" ".join(["v1,AAAA"] * 16 + [SECRET_SIGNED])),  # past the bound on signatures
    ],
)
def test_malformed_headers_are_bad_signatures(given_headers: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        verify(given_headers, BODY, [SECRET, PUBLIC], now_s=STAMP)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_not base64!",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsk_" + base64.b64encode(b"x" * 64).decode(),
        "whsk_" + base64.b64encode(b"x" * 32).decode(),
        "whpk_" + base64.b64encode(b"x" * 31).decode(),
    ],
)
def test_secrets_that_are_not_exactly_right_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadSecret) as caught:
        parse_secret(text)
    assert len(text) < 8 or text[7:] not in str(caught.value)


def test_what_cannot_be_signed() -> None:
    with pytest.raises(BadInput):
        sign("evt.1", STAMP, BODY, [SECRET])
    with pytest.raises(BadInput):
        sign("", STAMP, BODY, [SECRET])
    with pytest.raises(BadSecret):
        sign(ID, STAMP, BODY, [])
    with pytest.raises(BadSecret):
        sign(ID, STAMP, BODY, [PUBLIC])


def test_fresh_secrets_are_long_and_differ() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert {len(parse_secret(secret).key) for secret in made} == {32}
    private, public = new_key_pair()
    verify(headers(sign(ID, STAMP, BODY, [private])), BODY, [public], now_s=STAMP)


def test_a_secret_does_not_show_itself() -> None:
    assert repr(parse_secret(SECRET)) == "Secret(whsec)"
