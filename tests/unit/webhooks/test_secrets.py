"""Secrets at rest."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.secrets import Box, UnsealError
from shared.kernel.errors import Misconfigured


def key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


OLD, NEW = key(), key()


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=200), st.text(max_size=50).filter(str.isascii))
def test_what_was_sealed_opens_in_its_place_only(plaintext: str, context: str) -> None:
    box = Box(NEW)
    token = box.seal(plaintext, context)
    assert box.open(token, context) == plaintext
    assert token != box.seal(plaintext, context)  # a fresh nonce each time
    with pytest.raises(UnsealError):
        box.open(token, context + "x")


@given(st.integers(0), st.sampled_from("AB0_-.x"))
def test_an_altered_token_never_opens(place: int, letter: str) -> None:
    box = Box(NEW)
    token = box.seal("whsec_secret", "endpoint:ep_1")
    place %= len(token)
    altered = token[:place] + letter + token[place + 1 :]
    try:
        opened = box.open(altered, "endpoint:ep_1")
    except UnsealError:
        return
    assert opened == "whsec_secret"  # the same letter, or unused bits of the last one


def test_rotation_seals_with_the_first_key_and_opens_with_all() -> None:
    before = Box(OLD)
    token = before.seal("secret", "c")
    both = Box(f"{NEW}, {OLD}")
    assert both.open(token, "c") == "secret"
    assert both.is_stale(token)
    again = both.seal("secret", "c")
    assert not both.is_stale(again)
    assert Box(NEW).open(again, "c") == "secret"
    with pytest.raises(UnsealError, match="not configured"):
        Box(NEW).open(token, "c")
    with pytest.raises(UnsealError):
        before.open(again, "c")


@pytest.mark.parametrize("token", ["", "hf1", "hf1.x", "hf2.a.b", "hf1.000000000000.AAAA", "whsec_plain", "hf1..é"])
def test_what_is_no_token_does_not_open(token: str) -> None:
    with pytest.raises(UnsealError):
        Box(NEW).open(token, "c")


@pytest.mark.parametrize("tail", ["", "AAAA", "é", "!!!!"])
def test_a_short_or_foreign_payload_does_not_open(tail: str) -> None:
    box = Box(NEW)
    head = box.seal("x", "c").rsplit(".", 1)[0]
    with pytest.raises(UnsealError):
        box.open(f"{head}.{tail}", "c")


def test_unpadded_and_standard_base64_keys_are_the_same_key() -> None:
    raw = b"\xfb\xff" * 16
    token = Box(base64.urlsafe_b64encode(raw).decode()).seal("x", "c")
    assert Box(base64.urlsafe_b64encode(raw).decode().rstrip("=")).open(token, "c") == "x"
    assert Box(base64.b64encode(raw).decode()).open(token, "c") == "x"


@pytest.mark.parametrize("text", ["", " , ", "short", "é" * 43, "!" * 43, base64.urlsafe_b64encode(b"x" * 31).decode()])
def test_keys_that_are_not_32_bytes_are_bad_settings(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Box(text)
    assert len(text) < 5 or text not in str(caught.value)
