"""Links that work without an API key: a path, until when, and a signature over both.

Owns the signing. The invariants: a link opens exactly the path that it was made for and nothing after its time; who
made it had the right to read; signatures are compared in constant time. The keys come from settings: the first signs,
all are accepted, so a key can be replaced while links of the old one still live. Refuses other signatures (403) and
links whose time is over (410).
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from shared.kernel.clock import SECOND_US
from shared.kernel.errors import HoldfastError, Misconfigured, NotAllowed

LIFE_MOST_S = 7 * 86_400
_PURPOSE = b"holdfast media links 1"
_KEY_BYTES = 32


class BadSignature(NotAllowed):
    code = "link_refused"


class LinkExpired(HoldfastError):
    status = 410
    code = "link_expired"


class LinksOff(HoldfastError):
    status = 409
    code = "links_off"


class Links:
    """`keys` is HOLDFAST_MEDIA_LINK_KEY, or else HOLDFAST_MASTER_KEY: 32 bytes in base64url each, parted by commas."""

    def __init__(self, keys: str) -> None:
        self._keys = [_derived(part.strip()) for part in keys.split(",") if part.strip()]

    def sign(self, path: str, expires_s: int) -> str:
        """`path` with the query that opens it until `expires_s` (Unix time). Raises LinksOff without a key."""
        if not self._keys:
            raise LinksOff("no key signs links: set HOLDFAST_MEDIA_LINK_KEY or HOLDFAST_MASTER_KEY")
        return f"{path}?expires={expires_s}&signature={_signature(self._keys[0], path, expires_s)}"

    def check(self, path: str, expires: str | None, signature: str | None, now_us: int) -> int:
        """When it ends, in Unix seconds. Raises BadSignature, LinkExpired."""
        if not (expires and signature and expires.isascii() and expires.isdigit() and len(expires) <= 12):
            raise BadSignature("this link is not signed: it needs expires and signature")
        expires_s = int(expires)
        given = signature.encode("utf-8", "replace")
        matches = [hmac.compare_digest(_signature(key, path, expires_s).encode(), given) for key in self._keys]
        if not any(matches):
            raise BadSignature("this link's signature is not ours, or the link has been changed")
        if now_us >= expires_s * SECOND_US:
            raise LinkExpired("this link's time is over: ask for a new one")
        return expires_s


def _derived(key: str) -> bytes:
    try:
        raw = urlsafe_b64decode(key + "=" * (-len(key) % 4))
    except ValueError:
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise Misconfigured(f"HOLDFAST_MEDIA_LINK_KEY must hold {_KEY_BYTES} bytes in base64url, several by commas")
    return hmac.digest(raw, _PURPOSE, sha256)


def _signature(key: bytes, path: str, expires_s: int) -> str:
    return urlsafe_b64encode(hmac.digest(key, f"{path}\n{expires_s}".encode(), sha256)).rstrip(b"=").decode()
