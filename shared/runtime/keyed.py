"""Idempotency keys of the parts of one request: many at once, in the transaction of their effects.

What a part would be answered is known when its key is written, so one statement claims the keys and keeps the answers;
the keys that were there already come back with what was answered then. Rows go in the order of their keys, which is the
order of locks. They live as long as the keys of whole requests, in the same table. A part that is refused takes no key;
`known_keys` says whether it was accepted before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from shared.db.sql import Connection, Statement
from shared.kernel.clock import after_us
from shared.runtime.idempotency import TTL_S

_CLAIM = Statement(
    "dedup_claim_many",
    """
    INSERT INTO dedup (scope, key, fingerprint, status, headers, body, created_at, expires_at)
    SELECT :scope, key, fingerprint, status, '{}', body, :now, :expires FROM {rows} AS i WHERE true
    ON CONFLICT (scope, key) DO UPDATE
       SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
           body = excluded.body, created_at = excluded.created_at, expires_at = excluded.expires_at
     WHERE dedup.expires_at <= excluded.created_at
    RETURNING key
    """,
    rows={"key": "text", "fingerprint": "text", "status": "integer", "body": "text"},
    postgres="""
    INSERT INTO dedup (scope, key, fingerprint, status, headers, body, created_at, expires_at)
    SELECT CAST(:scope AS text), key, fingerprint, status, '{}', body, CAST(:now AS bigint), CAST(:expires AS bigint)
      FROM {rows} AS i WHERE true
    ON CONFLICT (scope, key) DO UPDATE
       SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
           body = excluded.body, created_at = excluded.created_at, expires_at = excluded.expires_at
     WHERE dedup.expires_at <= excluded.created_at
    RETURNING key
    """,
)
_KNOWN = Statement(
    "dedup_known_many",
    "SELECT key, fingerprint, body FROM dedup WHERE scope = :scope AND expires_at > :now AND key {any:keys}",
)


class Part(NamedTuple):
    key: str
    fingerprint: str
    status: int
    answer: Mapping[str, Any]


class Known(NamedTuple):
    """What a key was answered before."""

    fingerprint: str
    answer: dict[str, Any]


async def claim_keys(connection: Connection, scope: str, parts: Sequence[Part], now_us: int) -> dict[str, Known]:
    """The keys that were there before, by key; the others are taken. No key may stand in `parts` twice."""
    rows = [(part.key, part.fingerprint, part.status, orjson.dumps(part.answer).decode()) for part in sorted(parts)]
    values = {"scope": scope, "now": now_us, "expires": after_us(now_us, TTL_S)}
    new = {row["key"] for row in await connection.fetch(_CLAIM, values, rows)}
    return await known_keys(connection, scope, {part.key for part in parts} - new, now_us)


async def known_keys(connection: Connection, scope: str, keys: set[str], now_us: int) -> dict[str, Known]:
    """Those of the keys that are there, by key; none is taken."""
    if not keys:
        return {}
    found = await connection.fetch(_KNOWN, {"scope": scope, "now": now_us, "keys": sorted(keys)})
    return {row["key"]: Known(row["fingerprint"], orjson.loads(row["body"])) for row in found}
