"""Signatures of deliveries, as Standard Webhooks 1.0.0 defines them (https://www.standardwebhooks.com).

The signed content is `{id}.{timestamp}.{body}`. `v1` is HMAC-SHA256 under a `whsec_` secret of 24 to 64 bytes;
`v1a` is Ed25519 under a `whsk_` key (seed and public key), checked with the `whpk_` one. During a rotation a
delivery carries one signature per secret, and the receiver needs to match any.
Refuses ids that hold a dot (the content could be cut at two places) and secrets it cannot decode exactly.
"""

import hmac
import os
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.kernel.errors import BadInput, NotAllowed

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

SECRET_BYTES: Final = 32
TOLERANCE_S: Final = 300
SIGNATURES_MAX: Final = 16
"""Signatures looked at in one header: each costs a verification, and the header is the sender's."""
_KEYS_CACHED: Final = 4096

Kind = Literal["whsec", "whsk", "whpk"]


class BadSecret(BadInput):
    """A signing secret that is not what its prefix promises; the secret itself is never in the message."""

    code = "bad_secret"


class BadSignature(NotAllowed):
    """The message is not proven to come from a holder of the secret, or not recently."""

    status = 401
    code = "bad_signature"


@dataclass(frozen=True, slots=True)
class Secret:
    """`key` holds 24 to 64 bytes (whsec), the 32-byte seed (whsk) or the 32-byte public key (whpk)."""

    kind: Kind
    key: bytes

    def __repr__(self) -> str:
        return f"Secret({self.kind})"  # tracebacks and logs show locals


def new_secret() -> str:
    """A fresh `whsec_…` of 32 random bytes."""
    return "whsec_" + _b64(os.urandom(SECRET_BYTES))


def new_key_pair() -> tuple[str, str]:
    """A fresh Ed25519 pair: (`whsk_…` to sign with, `whpk_…` to hand to receivers)."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return "whsk_" + _b64(private.private_bytes_raw() + public), "whpk_" + _b64(public)


def parse_secret(text: str) -> Secret:
    """Decode `whsec_…`, `whsk_…` or `whpk_…`; BadSecret when it is none of them exactly."""
    prefix, mark, encoded = text.partition("_")
    if not mark or prefix not in ("whsec", "whsk", "whpk"):
        raise BadSecret("a signing secret starts with whsec_, whsk_ or whpk_")
    try:
        raw = a2b_base64(encoded, strict_mode=True)
    except (Base64Error, ValueError) as error:
        raise BadSecret(f"the part after {prefix}_ is not base64") from error
    if prefix == "whsec":
        if not 24 <= len(raw) <= 64:
            raise BadSecret("a whsec_ secret holds 24 to 64 bytes")
        return Secret("whsec", raw)
    if prefix == "whpk":
        if len(raw) != 32:
            raise BadSecret("a whpk_ key holds 32 bytes")
        return Secret("whpk", raw)
    if len(raw) != 64 or Ed25519PrivateKey.from_private_bytes(raw[:32]).public_key().public_bytes_raw() != raw[32:]:
        raise BadSecret("a whsk_ key holds a 32-byte seed and the public key that belongs to it")
    return Secret("whsk", raw[:32])


def sign(message_id: str, timestamp_s: int, body: bytes, secrets: Sequence[str]) -> str:
    """The value of `webhook-signature`: one signature per secret, in their order, parted by spaces."""
    if not secrets:
        raise BadSecret("a delivery needs at least one signing secret")
    content = _content(message_id, timestamp_s, body)
    if len(secrets) == 1:
        return _signer(secrets[0])(content)
    return " ".join([_signer(secret)(content) for secret in secrets])


def signature_headers(message_id: str, timestamp_s: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of one attempt."""
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp_s),
        SIGNATURE_HEADER: sign(message_id, timestamp_s, body, secrets),
    }


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
) -> None:
    """BadSignature unless some signature matches some secret and the timestamp is within the tolerance.

    `secrets` may be `whsec_`, `whpk_` or `whsk_` texts; header names count in any case.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, stamp, signatures = found[ID_HEADER], found[TIMESTAMP_HEADER], found[SIGNATURE_HEADER]
    except KeyError as error:
        raise BadSignature(f"the header {error.args[0]} is missing") from error
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12) or "." in message_id:
        raise BadSignature("the id or the timestamp is malformed")
    if abs(now_s - int(stamp)) > tolerance_s:
        raise BadSignature(f"the timestamp is more than {tolerance_s:g} s away from now")
    content = b"".join((message_id.encode(), b".", stamp.encode(), b".", body))
    checks = [_checker(secret) for secret in secrets]
    for signature in signatures.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]:
        if any(check(content, signature) for check in checks):
            return
    raise BadSignature("no signature matches")


def _content(message_id: str, timestamp_s: int, body: bytes) -> bytes:
    if "." in message_id or not message_id:
        raise BadInput("a message id is not empty and holds no dot", code="bad_message_id")
    return b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)


def _b64(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode("ascii")


@lru_cache(maxsize=_KEYS_CACHED)
def _signer(text: str) -> Callable[[bytes], str]:
    """Decoding a key costs more than a signature does, and an endpoint keeps its key for months."""
    secret = parse_secret(text)
    if secret.kind == "whsec":
        key = secret.key
        return lambda content: "v1," + b2a_base64(hmac.digest(key, content, "sha256"), newline=False).decode("ascii")
    if secret.kind == "whsk":
        private = Ed25519PrivateKey.from_private_bytes(secret.key)
        return lambda content: "v1a," + _b64(private.sign(content))
    raise BadSecret("a whpk_ key can verify, not sign")


@lru_cache(maxsize=_KEYS_CACHED)
def _checker(text: str) -> Callable[[bytes, str], bool]:
    secret = parse_secret(text)
    if secret.kind == "whsec":
        signer = _signer(text)
        return lambda content, given: hmac.compare_digest(signer(content).encode(), given.encode())
    if secret.kind == "whsk":
        public = Ed25519PrivateKey.from_private_bytes(secret.key).public_key()
    else:
        public = Ed25519PublicKey.from_public_bytes(secret.key)

    def check(content: bytes, given: str) -> bool:
        version, _, encoded = given.partition(",")
        if version != "v1a":
            return False
        try:
            public.verify(a2b_base64(encoded, strict_mode=True), content)
        except (InvalidSignature, ValueError):
            return False
        return True

    return check
