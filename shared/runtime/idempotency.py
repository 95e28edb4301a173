"""Idempotency keys: the same POST twice has one effect and one answer, also when both come at once.

The key is inserted first in the transaction of the effect, and the answer is written to it last, so key, effect and
answer commit together: whoever comes second waits for the first (its uncommitted row on PostgreSQL, the writer's turn
on SQLite) and then replays its answer. A request that fails commits nothing, its key neither: it may be sent again.
Refuses a key that comes again with another body (422), and one whose first request does not end in time (409).

    @router.post("/things")
    async def make(body: NewThing, once: Idempotent) -> Response:
        async with once.tx() as tx:
            ...
            return once.answer(201, {"id": id})
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Annotated, Any, NoReturn, Protocol

import orjson
from fastapi import Depends, Request
from starlette.responses import Response

from shared.db.reading import looking
from shared.db.sql import Row, Statement
from shared.db.tx import Tx, open_tx
from shared.kernel.clock import after_us
from shared.kernel.errors import BadInput, Conflict
from shared.runtime.callers import caller_of
from shared.runtime.resources import Resources, get_resources
from shared.transport.enqueue import Accepted, enqueue_all

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replay"
KEY_LIMIT_CHARS = 255
TTL_S = 24 * 3600.0
WAIT_S = 3.0  # for the first request with the same key
_PATH_LIMIT_CHARS = 200

# An expired key is taken over as if it were new.
_BEGIN = Statement(
    "dedup_begin",
    """
    INSERT INTO dedup (scope, key, fingerprint, created_at, expires_at)
    VALUES (:scope, :key, :fingerprint, :now, :expires)
    ON CONFLICT (scope, key) DO UPDATE
       SET fingerprint = excluded.fingerprint, status = NULL, headers = NULL, body = NULL,
           created_at = excluded.created_at, expires_at = excluded.expires_at
     WHERE dedup.expires_at <= excluded.created_at
    RETURNING key
    """,
)
_READ = Statement(
    "dedup_read", "SELECT fingerprint, status, headers, body FROM dedup WHERE scope = :scope AND key = :key"
)
_KNOWN = Statement(
    "dedup_known",
    """
    SELECT fingerprint, status, headers, body FROM dedup
     WHERE scope = :scope AND key = :key AND expires_at > :now AND status IS NOT NULL
    """,
)
_END = Statement(
    "dedup_end",
    "UPDATE dedup SET status = :status, headers = :headers, body = :body WHERE scope = :scope AND key = :key",
)


class Vault(Protocol):
    """Seals answers that hold secrets before they are kept for replays."""

    def seal(self, plaintext: str, context: str) -> str: ...
    def open(self, token: str, context: str) -> str: ...


class Replay(Exception):
    """Leaves `tx()` before its block runs; the app's handler turns it into the stored answer."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


class Once:
    """One POST. Without a key it is an ordinary request, with the same shape."""

    def __init__(self, resources: Resources, scope: str, key: str | None, fingerprint: str | None) -> None:
        self._resources = resources
        self._scope = scope
        self._key = key
        self._fingerprint = fingerprint
        self._answer: tuple[int, bytes, dict[str, str]] | None = None

    @property
    def keyed(self) -> bool:
        return self._key is not None

    async def known(self) -> bool:
        """Whether an answer is kept: it is not refused for what it would take to do it again. Takes nobody's turn."""
        return await self._kept() is not None

    async def replay(self, *, body_hash: str | None = None, vault: Vault | None = None) -> None:
        """To be asked before checks whose outcome changes: raises Replay and BadInput as `tx` does, if it can."""
        stored = await self._kept()
        if stored is not None:
            self._replay(stored, self._fingerprint_of(body_hash), vault)

    @asynccontextmanager
    async def tx(self, *, body_hash: str | None = None, vault: Vault | None = None) -> AsyncIterator[Tx]:
        """The transaction of the effect; the block must call `answer`. Before it runs: Replay, BadInput, Conflict.

        `body_hash` is for a streamed body, whose hash is known only now; `vault` for an answer that holds a secret.
        """
        if self._key is None:
            async with self._resources.tx() as tx:
                yield tx
                self._answered()
            return
        fingerprint = self._fingerprint_of(body_hash)
        database = self._resources.database
        async with open_tx(database, cap_s=database.tx_cap_s + WAIT_S, wake=self._resources.waker.wake) as tx:
            await self._begin(tx, self._key, fingerprint, vault)
            async with asyncio.timeout(database.tx_cap_s):
                yield tx
                await self._end(tx, self._key, vault)

    def answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
        """The answer to give, and to give again to the same key. `body` is JSON, or a pydantic model's dump."""
        self._answer = (status, orjson.dumps(body), dict(headers or {}))
        return _response(*self._answer)

    async def accept(
        self, accepted: Accepted, status: int, body: Any, headers: Mapping[str, str] | None = None
    ) -> Response:
        """For hot routes: group commit, or a transaction of its own with a key, and for what must be alone."""
        if self._key is None and not accepted.alone:
            await self._resources.acceptor.submit(accepted)
            return self.answer(status, body, headers)
        async with self.tx() as tx:
            for statement, rows in accepted.inserts:
                await tx.fetch(statement, None, rows)
            await enqueue_all(tx, accepted.jobs)
            return self.answer(status, body, headers)

    async def _begin(self, tx: Tx, key: str, fingerprint: str, vault: Vault | None) -> None:
        values = {"scope": self._scope, "key": key}
        row = {"fingerprint": fingerprint, "now": tx.now_us, "expires": after_us(tx.now_us, TTL_S)}
        try:
            async with asyncio.timeout(WAIT_S):
                if await tx.fetch(_BEGIN, {**values, **row}):
                    return
        except TimeoutError:
            raise _still_running() from None
        found = await tx.fetch(_READ, values)
        if not found or found[0]["status"] is None:
            raise _still_running()
        self._replay(found[0], fingerprint, vault)

    async def _kept(self) -> Row | None:
        if self._key is None:
            return None
        database = self._resources.database
        values = {"scope": self._scope, "key": self._key, "now": database.clock.now_us()}
        async with looking(database) as connection:
            found = await connection.fetch(_KNOWN, values)
        return found[0] if found else None

    def _fingerprint_of(self, body_hash: str | None) -> str:
        fingerprint = self._fingerprint or body_hash
        if fingerprint is None:
            raise RuntimeError("a streamed body needs its hash: once.tx(body_hash=…)")
        return fingerprint

    def _replay(self, stored: Row, fingerprint: str, vault: Vault | None) -> NoReturn:
        if stored["fingerprint"] != fingerprint:
            raise BadInput(
                f"this {HEADER} was used before with another body", code="idempotency_key_reused",
                place="header", pointer=f"/{HEADER}", found=self._key,
            )  # fmt: skip
        body = stored["body"] if vault is None else vault.open(stored["body"], f"dedup:{self._scope}:{self._key}")
        headers = {**orjson.loads(stored["headers"]), REPLAYED: "true"}
        raise Replay(_response(stored["status"], body.encode(), headers))

    async def _end(self, tx: Tx, key: str, vault: Vault | None) -> None:
        status, body, headers = self._answered()
        text = body.decode() if vault is None else vault.seal(body.decode(), f"dedup:{self._scope}:{key}")
        values = {"status": status, "headers": orjson.dumps(headers).decode(), "body": text}
        await tx.fetch(_END, {**values, "scope": self._scope, "key": key})

    def _answered(self) -> tuple[int, bytes, dict[str, str]]:
        if self._answer is None:
            raise RuntimeError("the block of once.tx() ended without once.answer(…)")
        return self._answer


async def once(request: Request) -> Once:
    """For bodies that are read whole: the body is part of what the key stands for."""
    key = _key(request)
    fingerprint = None
    if key is not None:
        fingerprint = blake2b(await request.body() + b"\n" + request.scope["query_string"], digest_size=16).hexdigest()
    return Once(get_resources(request), _scope(request), key, fingerprint)


async def once_streamed(request: Request) -> Once:
    """For bodies that the route streams: it hands their hash to `tx(body_hash=…)`."""
    return Once(get_resources(request), _scope(request), _key(request), None)


Idempotent = Annotated[Once, Depends(once)]
IdempotentStream = Annotated[Once, Depends(once_streamed)]


def _key(request: Request) -> str | None:
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not 1 <= len(key) <= KEY_LIMIT_CHARS or not (key.isascii() and key.isprintable()):
        raise BadInput(
            f"{HEADER} must be given once, as 1 to {KEY_LIMIT_CHARS} printable ASCII characters",
            place="header", pointer=f"/{HEADER}", found=f"{len(given)} of {len(key)} characters",
        )  # fmt: skip
    return key


def _scope(request: Request) -> str:
    path = request.scope["path"]
    if len(path) > _PATH_LIMIT_CHARS:  # a primary key of PostgreSQL holds at most 2,704 bytes
        path = blake2b(path.encode(), digest_size=16).hexdigest()
    return f"{caller_of(request).tenant} {request.method} {path}"


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    return Response(body, status, headers=dict(headers), media_type="application/json")


def _still_running() -> Conflict:
    return Conflict(f"a request with this {HEADER} is still running", code="idempotency_key_in_use", retry_after_s=1)
