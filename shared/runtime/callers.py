"""Callers: who asks, for which tenant, and what they may do. An API key is `hf_` and 256 random bits in base64url.

Only the SHA-256 of a key is stored: 256 random bits need no slow hash. The gate of `shared.runtime.http` identifies
the caller before anything of the request is read; routes then name the scope that they need with `require`. A key is
remembered for `TTL_S`, so a revoked one may work that much longer. Refuses everything that is not a live key.
"""

import asyncio
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fastapi import Request
from sqlalchemy import text

from shared.db.engine import Database
from shared.db.sql import Statement
from shared.db.tx import Tx
from shared.kernel.errors import BadInput, NotAllowed, Unauthenticated
from shared.kernel.ids import new_id

TTL_S = 5.0
CACHE_LIMIT = 4_096
SCOPES = (
    "jobs:read", "jobs:write", "dead:read", "dead:write", "queues:read", "queues:write", "lanes:read", "lanes:write",
    "users:read", "users:write", "webhooks:read", "webhooks:write", "media:read", "media:write", "metrics:read",
    "schedules:read", "schedules:write", "prompts:write", "synced:read",
)  # fmt: skip
EVERYTHING = "*"
_KEY = re.compile(r"hf_[A-Za-z0-9_-]{43}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SCOPE_KEY = "holdfast.caller"

_FIND = text("SELECT id, tenant, scopes, hash FROM api_key WHERE hash = :hash AND revoked_at IS NULL")
_INSERT = Statement(
    "insert_api_key",
    """
    INSERT INTO api_key (id, name, tenant, scopes, hash, created_at)
    VALUES (:id, :name, :tenant, :scopes, :hash, :now) ON CONFLICT (hash) DO NOTHING
    """,
)
_REVOKE = Statement(
    "revoke_api_key", "UPDATE api_key SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL RETURNING id"
)


@dataclass(frozen=True, slots=True)
class Caller:
    key_id: str
    tenant: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        return scope in self.scopes or EVERYTHING in self.scopes


class Callers:
    """Finds the caller of a key. Requests that miss the same key at the same time share one read."""

    def __init__(self, database: Database, *, ttl_s: float = TTL_S) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._known: dict[str, tuple[float, Caller]] = {}
        self._reading: dict[str, asyncio.Task[Caller | None]] = {}

    async def identify(self, authorization: str | None) -> Caller:
        """Raises Unauthenticated; the database's own errors when it does not answer."""
        if not authorization:
            raise Unauthenticated("an API key is needed: Authorization: Bearer hf_…")
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or _KEY.fullmatch(key) is None:
            raise Unauthenticated("the Authorization header does not hold an API key: Bearer hf_… and 43 characters")
        digest = _digest(key)
        known = self._known.get(digest)
        if known is not None and known[0] > self._database.clock.monotonic_s():
            return known[1]
        caller = await self._read_once(digest)
        if caller is None:
            raise Unauthenticated("this API key is not known, or has been revoked")
        return caller

    async def _read_once(self, digest: str) -> Caller | None:
        task = self._reading.get(digest)
        if task is None:
            task = self._reading[digest] = asyncio.create_task(self._read(digest), name="read-api-key")
            task.add_done_callback(lambda _: self._reading.pop(digest, None))
        return await asyncio.shield(task)

    async def _read(self, digest: str) -> Caller | None:
        self._known.pop(digest, None)
        async with self._database.reader.connect() as connection:
            row = (await connection.execute(_FIND, {"hash": digest})).mappings().first()
        if row is None or not hmac.compare_digest(row["hash"], digest):
            return None
        caller = Caller(row["id"], row["tenant"], frozenset(row["scopes"].split()))
        while len(self._known) >= CACHE_LIMIT:
            self._known.pop(next(iter(self._known)))
        self._known[digest] = (self._database.clock.monotonic_s() + self._ttl_s, caller)
        return caller


def require(scope: str, *others: str) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, who must have `scope`, or one of `others`. Raises NotAllowed, which names `scope`."""
    for known in (scope, *others):
        if known not in SCOPES:
            raise ValueError(f"there is no scope {known}")

    async def caller_with_scope(request: Request) -> Caller:
        caller = caller_of(request)
        if not any(caller.may(one) for one in (scope, *others)):
            raise NotAllowed(f"this API key lacks the scope {scope}", missing_scope=scope)
        return caller

    return caller_with_scope


def caller_of(request: Request) -> Caller:
    caller: Caller | None = request.scope.get(_SCOPE_KEY)
    if caller is None:
        raise Unauthenticated("an API key is needed: Authorization: Bearer hf_…")
    return caller


def remember(scope: MutableMapping[str, Any], caller: Caller) -> None:
    """Set by the gate, read by `require`."""
    scope[_SCOPE_KEY] = caller


async def create_key(
    tx: Tx, *, name: str, tenant: str, scopes: Iterable[str], plaintext: str | None = None
) -> tuple[str, str]:
    """Returns (id, the key itself): it is shown once and stored nowhere. `plaintext` brings an existing key along.

    Raises BadInput for an unknown scope, or a tenant that is not 1 to 64 of letters, digits, `_` and `-`.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope != EVERYTHING and scope not in SCOPES]
    if unknown or not wanted:
        known = ", ".join((EVERYTHING, *SCOPES))
        raise BadInput(f"scopes must be of: {known}", pointer="/scopes", found=", ".join(unknown))
    if _TENANT.fullmatch(tenant) is None:
        raise BadInput("a tenant is 1 to 64 letters, digits, _ and -", pointer="/tenant", found=tenant)
    if not 1 <= len(name) <= 100:
        raise BadInput("a name is 1 to 100 characters", pointer="/name", found=name)
    key = plaintext or "hf_" + secrets.token_urlsafe(32)
    if _KEY.fullmatch(key) is None:
        raise BadInput("an API key is hf_ and 43 characters of base64url", pointer="/plaintext")
    key_id = new_id("key")
    values = {"id": key_id, "name": name, "tenant": tenant, "scopes": " ".join(wanted), "hash": _digest(key)}
    await tx.fetch(_INSERT, {**values, "now": tx.now_us})
    return key_id, key


async def revoke_key(tx: Tx, key_id: str) -> bool:
    """False when there is no such live key. Processes that remember it refuse it within TTL_S."""
    return bool(await tx.fetch(_REVOKE, {"id": key_id, "now": tx.now_us}))


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()
