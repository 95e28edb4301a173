"""The tus protocol's headers, read and written (https://tus.io/protocols/resumable-upload, 1.0.0): pure.

Owns what a header may look like. Refuses other versions (412), lengths that are no numbers, metadata that is no base64
or past its bounds, and checksums of algorithms that are not offered (400).
"""

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from email.utils import formatdate

from services.media.parts import Checksum
from shared.kernel.clock import SECOND_US
from shared.kernel.errors import BadInput, HoldfastError

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
ALGORITHMS = ("sha1", "sha256", "sha512")
PART_TYPE = "application/offset+octet-stream"
METADATA_MOST_CHARS = 4096
_DIGITS_MOST = 18


class WrongVersion(HoldfastError):
    status = 412
    code = "tus_version"


class BadHeader(BadInput):
    """tus says 400 where the rest of the API says 422."""

    status = 400
    code = "bad_header"


def check_version(given: str | None) -> None:
    if given != VERSION:
        raise WrongVersion(f"Tus-Resumable must be {VERSION}", found=(given or "")[:20] or None)


def options_headers(most_bytes: int) -> dict[str, str]:
    return {
        "Tus-Resumable": VERSION, "Tus-Version": VERSION, "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(most_bytes), "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }  # fmt: skip


def state_headers(upload: Mapping[str, object], expires_at_us: int | None) -> dict[str, str]:
    """What is said of an upload: how far it is, and until when it may go on."""
    headers = {"Tus-Resumable": VERSION, "Upload-Offset": str(upload["offset_bytes"]), "Cache-Control": "no-store"}
    if expires_at_us is not None:
        headers["Upload-Expires"] = formatdate(expires_at_us // SECOND_US, usegmt=True)
    return headers


def number(name: str, given: str | None) -> int:
    """A header that must be a count of bytes."""
    if given is None or not (given.isascii() and given.isdigit() and len(given) <= _DIGITS_MOST):
        raise _bad(name, "must be a whole number of bytes", given)
    return int(given)


def metadata(given: str | None) -> dict[str, str]:
    """Upload-Metadata: keys and base64 of UTF-8, parted by commas; a key may stand without a value."""
    if not given:
        return {}
    if len(given) > METADATA_MOST_CHARS:
        raise _bad("Upload-Metadata", f"is more than {METADATA_MOST_CHARS} characters", f"{len(given)} characters")
    found: dict[str, str] = {}
    for pair in given.split(","):
        key, _, value = pair.strip().partition(" ")
        if not key or not key.isascii() or not key.isprintable() or key in found:
            raise _bad("Upload-Metadata", "must have keys of printable ASCII, each once", pair)
        try:
            found[key] = b64decode(value.strip(), validate=True).decode()
        except ValueError:
            raise _bad("Upload-Metadata", f"has a value of {key} that is no base64 of UTF-8", pair) from None
    return found


def checksum(given: str | None) -> Checksum | None:
    """Upload-Checksum: `sha1 <base64>`."""
    if given is None:
        return None
    algorithm, _, value = given.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise _bad("Upload-Checksum", f"must be of {', '.join(ALGORITHMS)}", algorithm)
    try:
        digest = b64decode(value.strip(), validate=True)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise _bad("Upload-Checksum", f"must hold the base64 of a {algorithm}", value)
    return Checksum(algorithm, digest)


def _bad(name: str, words: str, found: str | None) -> BadHeader:
    return BadHeader(f"{name} {words}", place="header", pointer=f"/{name}", found=found)
