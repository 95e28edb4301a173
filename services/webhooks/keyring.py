"""What signs for an endpoint: a secret (`v1`), a key pair (`v1a`) or both, and what they replaced, for a while.

The invariants: what is stored is sealed, except public keys, which anybody may know; a secret leaves this module in
clear once, when it is made; what a rotation has replaced signs until its overlap ends, also when another rotation
comes meanwhile. Refuses to keep more than RETIRED_MOST that still sign: a receiver would have to try them all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import orjson

from services.webhooks.models import Endpoint
from services.webhooks.secrets import Box
from services.webhooks.signing import new_key_pair, new_secret
from shared.kernel.clock import after_us, rfc3339
from shared.kernel.errors import Conflict

RETIRED_MOST: Final = 6
Scheme = Literal["v1", "v1a"]
ALL_SCHEMES: Final[tuple[Scheme, ...]] = ("v1", "v1a")
Sealed = tuple[str, int | None, str | None]  # token, until when it signs (None: for ever), public key of a pair


def secret_context(endpoint_id: str) -> str:
    """Where a sealed signing secret or key belongs; see `services.webhooks.secrets`."""
    return f"endpoint:{endpoint_id}"


def schemes(endpoint: Endpoint) -> list[Scheme]:
    return [each for each in ALL_SCHEMES if each in endpoint.signing.split()]


def make_keys(endpoint: Endpoint, wanted: Sequence[Scheme], box: Box) -> dict[str, str]:
    """Give a new endpoint what it signs with; returns in clear what its owner is shown once."""
    endpoint.signing, endpoint.secret = " ".join(wanted), ""
    return _renew(endpoint, wanted, box)


def change_keys(endpoint: Endpoint, wanted: Sequence[Scheme], box: Box) -> dict[str, str]:
    """Sign with these from now on. What is new is returned in clear; what is not wanted any more is gone at once."""
    had = schemes(endpoint)
    endpoint.signing = " ".join(wanted)
    if "v1" not in wanted:
        endpoint.secret, endpoint.previous_secret, endpoint.previous_until = "", None, None
    if "v1a" not in wanted:
        endpoint.signing_key = endpoint.public_key = None
    kept = [each for each in _retired(_columns(endpoint)) if ("v1a" if each[2] else "v1") in wanted]
    endpoint.retired = _json(kept) if kept else None
    return _renew(endpoint, [each for each in wanted if each not in had], box)


def rotate_keys(endpoint: Endpoint, which: Sequence[Scheme], overlap_s: float, box: Box, now_us: int) -> dict[str, str]:
    """New ones in place of these; the old ones sign beside them until the overlap ends. Raises Conflict.

    Without an overlap nothing of that kind but the new one signs: that is what one asks for when a secret has leaked.
    """
    old = _columns(endpoint)
    until = after_us(now_us, overlap_s)
    kept = [each for each in _retired(old) if (each[1] or 0) > now_us]
    if not overlap_s:
        kept = [each for each in kept if ("v1a" if each[2] else "v1") not in which]
    else:
        kept = [(token, until, public) for token, _, public in _current(old, which)] + kept
    if len(kept) > RETIRED_MOST:
        words = f"{RETIRED_MOST} old secrets still sign beside the new ones: rotate without an overlap, or later"
        raise Conflict(words, code="too_many_rotations", limit=RETIRED_MOST)
    endpoint.retired = _json(kept) if kept else None
    endpoint.previous_secret = endpoint.previous_until = None
    return _renew(endpoint, which, box)


def sealed_secrets(row: Mapping[str, Any]) -> list[Sealed]:
    """Of a row that has their columns: everything that may sign, the newest of each kind first."""
    return [*_current(row, ALL_SCHEMES), *_retired(row)]


def signing_document(endpoint: Endpoint, now_us: int) -> dict[str, Any]:
    """What may be shown at any time: the kinds, public keys to verify with, and until when what was replaced signs."""
    retired = [each for each in _retired(_columns(endpoint)) if (each[1] or 0) > now_us]
    of_v1 = [until for _, until, public in retired if public is None and until is not None]
    of_v1a = [{"public_key": public, "until": rfc3339(until)} for _, until, public in retired if public is not None]
    return {
        "signing": schemes(endpoint),
        "public_key": endpoint.public_key,
        "previous_public_keys": of_v1a,
        "previous_secret_until": rfc3339(max(of_v1, default=None)),
    }


def _renew(endpoint: Endpoint, which: Sequence[Scheme], box: Box) -> dict[str, str]:
    """`secret` is the secret, or the key where there is no secret; `signing_key` is the key."""
    shown: dict[str, str] = {}
    if "v1a" in which:
        shown["signing_key"], endpoint.public_key = new_key_pair()
        shown["secret"] = shown["signing_key"]
        endpoint.signing_key = box.seal(shown["signing_key"], secret_context(endpoint.id))
    if "v1" in which:
        shown["secret"] = new_secret()
        endpoint.secret = box.seal(shown["secret"], secret_context(endpoint.id))
    return shown


def _columns(endpoint: Endpoint) -> dict[str, Any]:
    names = ("secret", "signing_key", "public_key", "retired", "previous_secret", "previous_until")
    return {name: getattr(endpoint, name) for name in names}


def _current(row: Mapping[str, Any], which: Sequence[Scheme]) -> list[Sealed]:
    found: list[Sealed] = []
    if "v1" in which and row["secret"]:
        found.append((row["secret"], None, None))
    if "v1a" in which and row["signing_key"]:
        found.append((row["signing_key"], None, row["public_key"]))
    return found


def _retired(row: Mapping[str, Any]) -> list[Sealed]:
    found = [(token, until, public) for token, until, public in orjson.loads(row["retired"] or "[]")]
    if row["previous_secret"]:
        found.append((row["previous_secret"], row["previous_until"], None))
    return found


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
