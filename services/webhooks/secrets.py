"""Secrets at rest: AES-256-GCM under the master key, bound to the place where they are stored.

A token is `hf1.<key id>.<base64url of nonce and ciphertext>`. The context (`endpoint:ep_…`) is authenticated with
it, so a token copied into another row does not open there. Several master keys may be given, newest first: the
first one seals, all of them open, and `is_stale` finds what a rotation has yet to seal again.
Refuses keys that are not 32 bytes; never puts a secret or a key into a message.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.kernel.errors import HoldfastError, Misconfigured

_VERSION: Final = "hf1"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_KEY_ID_BYTES: Final = 6


class UnsealError(HoldfastError):
    """A stored secret cannot be read: its key is not configured, it was altered, or it belongs elsewhere."""

    code = "cannot_open_secret"


class Box:
    """`master_key_b64`: 32 bytes in base64url; several, newest first, parted by commas."""

    def __init__(self, master_key_b64: str) -> None:
        texts = [text.strip() for text in master_key_b64.split(",") if text.strip()]
        if not texts:
            raise Misconfigured("the master key is missing: it is 32 random bytes in base64url")
        self._ciphers: dict[str, AESGCM] = {}
        ids: list[str] = []
        for text in texts:
            key_id, cipher = _derive(_decode_key(text))
            ids.append(key_id)
            self._ciphers[key_id] = cipher
        self._newest = ids[0]

    def seal(self, plaintext: str, context: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, plaintext.encode(), _bound(self._newest, context))
        return f"{_VERSION}.{self._newest}.{_b64(nonce + sealed)}"

    def open(self, token: str, context: str) -> str:
        """The plaintext; UnsealError when the token was not sealed for this context by a key we hold."""
        version, _, rest = token.partition(".")
        key_id, _, encoded = rest.partition(".")
        if version != _VERSION or not encoded:
            raise UnsealError("the stored secret is not a token that this version writes")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnsealError(f"the stored secret was sealed with master key {key_id}, which is not configured")
        try:
            raw = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(key_id, context)).decode()
        except (InvalidTag, ValueError) as error:
            raise UnsealError("the stored secret was altered or belongs to another place") from error

    def is_stale(self, token: str) -> bool:
        """True when the newest key did not seal it."""
        return not token.startswith(f"{_VERSION}.{self._newest}.")


def _decode_key(text: str) -> bytes:
    try:
        key = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise Misconfigured("the master key is not base64url") from error
    if len(key) != _KEY_BYTES or _b64(key) != text.rstrip("=").translate(_TO_URLSAFE):
        raise Misconfigured("the master key is not 32 bytes in base64url")
    return key


def _derive(master: bytes) -> tuple[str, AESGCM]:
    """Key id and cipher, both derived: the master key itself encrypts nothing and its id reveals nothing of it."""
    okm = HKDF(algorithm=SHA256(), length=_KEY_BYTES + _KEY_ID_BYTES, salt=None, info=b"holdfast/secrets/hf1").derive(
        master
    )
    return okm[_KEY_BYTES:].hex(), AESGCM(okm[:_KEY_BYTES])


def _bound(key_id: str, context: str) -> bytes:
    return f"{_VERSION}.{key_id}.{context}".encode()


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


_TO_URLSAFE: Final = str.maketrans("+/", "-_")
