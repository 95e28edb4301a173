"""Why a signature does not match: what a person at a receiver wants to know, from the request and the secret alone.

Pure. The invariant: `valid` says what `signing.verify` says, and nothing else is ever called valid. What is tried
beyond that (the body without its last line break, serialised again, …) only explains.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.webhooks.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOLERANCE_S,
    BadSecret,
    BadSignature,
    Secret,
    parse_secret,
    verify,
)

_FAR_S: Final = 10_000_000_000  # milliseconds where seconds belong


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`code` is one word for machines; `words` say what to do."""

    valid: bool
    code: str
    words: str

    def document(self) -> dict[str, Any]:
        return {"valid": self.valid, "reason": self.code, "message": self.words}


def diagnose(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    *,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
    original: bytes | None = None,
) -> Diagnosis:
    """`original`: the body as it was sent, when somebody knows it."""
    found = {name.lower().strip(): value.strip() for name, value in headers.items()}
    wrong = _headers(found) or _secrets(secrets)
    if wrong is not None:
        return wrong
    stamp = int(found[TIMESTAMP_HEADER])
    if not _matches(found, body, secrets, stamp):
        return _mismatch(found, body, secrets, stamp, original)
    try:
        verify(found, body, secrets, now_s=now_s, tolerance_s=tolerance_s)
    except BadSignature:
        return _stale(stamp, now_s, tolerance_s)
    return Diagnosis(True, "valid", "the signature is valid")


def _headers(found: Mapping[str, str]) -> Diagnosis | None:
    for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER):
        if not found.get(name):
            return Diagnosis(False, "header_missing", f"the header {name} is missing: a proxy may drop it")
    stamp = found[TIMESTAMP_HEADER]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        words = "it must be whole seconds since 1970" + (", not milliseconds" if stamp.isdigit() else "")
        return Diagnosis(False, "timestamp_malformed", f"{TIMESTAMP_HEADER} is {stamp[:40]!r}: {words}")
    if "." in found[ID_HEADER]:
        return Diagnosis(False, "id_malformed", f"{ID_HEADER} holds a dot: it was changed on its way")
    return None


def _secrets(secrets: Sequence[str]) -> Diagnosis | None:
    if not secrets:
        return Diagnosis(False, "secret_missing", "a secret is needed: whsec_…, or whpk_… for v1a signatures")
    for secret in secrets:
        try:
            parse_secret(secret)
        except BadSecret as bad:
            stripped = secret.strip().strip("\"'")
            more = " (without the spaces or quotes around it, it can)" if _readable(stripped) else ""
            return Diagnosis(False, "secret_unreadable", f"the secret cannot be read: {bad.message}{more}")
    return None


def _mismatch(
    found: Mapping[str, str], body: bytes, secrets: Sequence[str], stamp: int, original: bytes | None
) -> Diagnosis:
    versions = {part.partition(",")[0] for part in found[SIGNATURE_HEADER].split()}
    kinds = {_version(parse_secret(secret)) for secret in secrets}
    if not versions & kinds:
        held, wanted = " and ".join(sorted(versions)) or "none", " or ".join(sorted(kinds))
        words = (
            f"the header holds signatures of kind {held}, and the secret checks {wanted}: take the endpoint's other key"
        )
        return Diagnosis(False, "other_version", words)
    for changed, words in _variants(body):
        if changed != body and _matches(found, changed, secrets, stamp):
            return Diagnosis(
                False, "body_changed", f"the body was changed: {words}. Verify the raw bytes, before any parsing"
            )
    if original is not None:
        if original != body:
            return Diagnosis(False, "body_changed", f"the body was changed: {_difference(original, body)}")
        return Diagnosis(
            False, "wrong_secret", "the body is as it was sent: the secret is not this endpoint's, or an older one"
        )
    words = "no signature matches: the secret is another endpoint's or an older one, or the body was changed"
    return Diagnosis(False, "no_match", words)


def _stale(stamp: int, now_s: float, tolerance_s: float) -> Diagnosis:
    off_s = now_s - stamp
    if stamp > _FAR_S:
        return Diagnosis(False, "timestamp_malformed", f"the timestamp {stamp} is in milliseconds")
    side = "old" if off_s > 0 else "in the future"
    words = (
        f"the signature matches, but its timestamp is {abs(off_s):.0f} s {side}, more than {tolerance_s:g} s:"
        " the message waited or was replayed, or a clock is wrong"
    )
    return Diagnosis(False, "timestamp_stale" if off_s > 0 else "timestamp_future", words)


def _variants(body: bytes) -> Iterator[tuple[bytes, str]]:
    yield body.rstrip(b"\r\n"), "it has gained a line break at its end (an editor, or `echo`)"
    yield body + b"\n", "it has lost the line break at its end"
    yield body.strip(), "it has gained white space around it"
    yield body.replace(b"\r\n", b"\n"), "its line breaks became CR LF"
    yield body.removeprefix(b"\xef\xbb\xbf"), "it has gained a byte order mark"
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    if isinstance(document, str):  # JSON in a string of JSON
        yield document.encode(errors="replace"), "it was encoded as JSON once more"
    for dump in _DUMPS:
        yield (
            dump(document).encode(errors="replace"),
            "it was parsed and serialised again (white space, escapes or order)",
        )


_DUMPS: Final[tuple[Callable[[Any], str], ...]] = (
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    lambda value: json.dumps(value, separators=(",", ":")),
    json.dumps,
    lambda value: json.dumps(value, ensure_ascii=False),
    lambda value: json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":")),
)


def _ordered(value: Any) -> Any:
    """The members of the envelope in the order in which they are sent."""
    if not isinstance(value, dict):
        return value
    first = [name for name in ("type", "timestamp", "data") if name in value]
    return {name: value[name] for name in [*first, *(name for name in value if name not in first)]}


def _matches(found: Mapping[str, str], body: bytes, secrets: Sequence[str], stamp: int) -> bool:
    try:
        verify(found, body, secrets, now_s=float(stamp))
    except BadSignature:
        return False
    return True


def _difference(original: bytes, body: bytes) -> str:
    at = next((n for n, (one, other) in enumerate(zip(original, body, strict=False)) if one != other), None)
    if at is None:
        at = min(len(original), len(body))
    return f"{len(body)} bytes instead of {len(original)}, and the first that differs is byte {at}"


def _version(secret: Secret) -> str:
    return "v1" if secret.kind == "whsec" else "v1a"


def _readable(text: str) -> bool:
    try:
        parse_secret(text)
    except BadSecret:
        return False
    return True
