"""OAuth2 tokens of endpoints: fetched once however many deliveries wait, kept until shortly before they expire.

The invariants: a token is fetched through the very sender that deliveries use, so the same addresses are refused; it
is in this process's memory only, and in no log and no message. A failed fetch fails the attempts that waited for it,
and is not remembered: the endpoint's own schedule says when it is tried again. Refuses what cannot be a header.
"""

import asyncio
import re
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import orjson

from services.webhooks.answers import Answer, clean

LIMIT_S: Final = 15.0
"""Of one fetch, which many may wait for; who waits keeps to a deadline of its own as well."""
KEPT: Final = 5_000
EARLY_S: Final = 30.0
DEFAULT_S: Final = 300.0  # for an answer that does not say how long
LONGEST_S: Final = 86_400.0
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_WORD: Final = re.compile(r"[\x20-\x7e]{1,200}")
Post = Callable[[str, bytes, Mapping[str, str], float], Awaitable[Answer]]


class TokenFailed(Exception):
    """Words that can be shown: what the token endpoint did, without what was said to it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`key` stands for all of it. See `services.webhooks.access.OAuth2`."""

    key: str
    token_url: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    scope: str | None = None
    audience: str | None = None
    auth: str = "basic"


@dataclass(slots=True)
class _Held:
    token: str = field(repr=False)
    until_s: float


class Tokens:
    """`post` sends a form and brings back an answer; `monotonic_s` may be a test's."""

    def __init__(self, post: Post, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._post = post
        self._now_s = monotonic_s
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[str]] = {}

    async def get(self, grant: Grant, *, instead_of: str | None = None) -> str:
        """A token; not `instead_of`, which the receiver has just refused. Raises TokenFailed."""
        held = self._held.get(grant.key)
        if held is not None and held.token != instead_of and held.until_s > self._now_s():
            return held.token
        task = self._fetching.get(grant.key)
        if task is None:
            self._held.pop(grant.key, None)
            task = self._fetching[grant.key] = asyncio.create_task(self._fetch(grant), name="oauth2")
            task.add_done_callback(lambda done: self._settled(grant.key, done))
        return await asyncio.shield(task)  # others wait for it too

    async def close(self) -> None:
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._held.clear()

    def _settled(self, key: str, task: "asyncio.Task[str]") -> None:
        self._fetching.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited may have gone; that is no defect to be warned of

    async def _fetch(self, grant: Grant) -> str:
        began_s = self._now_s()
        body, headers = _request(grant)
        answer = await self._post(grant.token_url, body, headers, LIMIT_S)
        token, lives_s = read_token(answer)
        early_s = min(EARLY_S, lives_s / 10)
        self._held[grant.key] = _Held(token, began_s + lives_s - early_s)
        while len(self._held) > KEPT:
            self._held.popitem(last=False)
        return token


def read_token(answer: Answer) -> tuple[str, float]:
    """(token, seconds that it lives). Raises TokenFailed."""
    if answer.status is None:
        raise TokenFailed(f"no token came: {answer.error}: {answer.message}")
    document = _document(answer)
    if answer.status != 200:
        raise TokenFailed(f"the token endpoint answered {answer.status}{_said(document)}")
    if not isinstance(document, dict):
        raise TokenFailed("the token endpoint answered 200 with something other than a JSON object")
    token, kind = document.get("access_token"), document.get("token_type", "Bearer")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise TokenFailed("the token endpoint answered 200 without an access_token that a header can hold")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenFailed("the token endpoint gave a token of another type than Bearer")
    return token, _lifetime_s(document.get("expires_in"))


def _request(grant: Grant) -> tuple[bytes, dict[str, str]]:
    form = {"grant_type": "client_credentials"}
    headers = {"Accept": "application/json"}
    if grant.scope:
        form["scope"] = grant.scope
    if grant.audience:
        form["audience"] = grant.audience
    if grant.auth == "basic":  # RFC 6749 §2.3.1: each half is form-encoded first
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.client_secret)}"
        headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
    else:
        form |= {"client_id": grant.client_id, "client_secret": grant.client_secret}
    return urlencode(form).encode(), headers


def _document(answer: Answer) -> Any:
    if answer.body_truncated:
        raise TokenFailed(f"the token endpoint answered {answer.status} with more than 20 kB")
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None


def _said(document: Any) -> str:
    """RFC 6749 §5.2's words, if they are words: what else came may hold anything."""
    if not isinstance(document, dict):
        return ""
    words = [
        value
        for name in ("error", "error_description")
        if isinstance(value := document.get(name), str) and _WORD.fullmatch(value)
    ]
    return clean(f": {', '.join(words)}") if words else ""


def _lifetime_s(given: Any) -> float:
    """Some servers send a number as text."""
    try:
        seconds = DEFAULT_S if given is None else float(given)
    except (TypeError, ValueError, OverflowError):
        seconds = DEFAULT_S
    return min(seconds, LONGEST_S) if seconds > 0 else 0.0
