"""Asking a feed for one page: one bounded GET, through the egress guard.

One deadline covers lookup, connect, head and body; a body past BODY_MOST_BYTES is not read to its end. No redirects, no
cookies, no proxies from the environment, no compressed transfers (a small body could become a large one).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from services.api.feed import FeedBroken
from shared.runtime.egress import AddressPolicy, build_connector, check_url

BODY_MOST_BYTES = 4 * 1024 * 1024
ANSWER_S = 20.0
UNREACHED = (aiohttp.ClientError, OSError, TimeoutError)  # EgressRefused is none of these


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    etag: str | None
    last_modified: str | None
    retry_after: str | None


class FeedClient:
    """Open it for one sync; `get` raises UNREACHED, EgressRefused and FeedBroken."""

    def __init__(self, url: str, token: str, policy: AddressPolicy) -> None:
        self._url = url
        self._token = token
        self._policy = policy
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Holdfast-Sync/1"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._session = aiohttp.ClientSession(
            connector=build_connector(self._policy, limit=1, limit_per_host=1, keepalive_s=15.0),
            cookie_jar=aiohttp.DummyCookieJar(), headers=headers, auto_decompress=False, trust_env=False,
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, cursor: str, conditions: Mapping[str, str]) -> Answer:
        if self._session is None:
            raise RuntimeError("the client is not open")
        target = self._url
        if cursor:
            target += f"{'&' if '?' in target else '?'}cursor={quote(cursor, safe='')}"
        url = URL(check_url(target, self._policy).url, encoded=True)
        async with self._session.get(url, headers=conditions, allow_redirects=False) as response:
            if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
                raise FeedBroken("compressed", "the feed's answer is compressed, and nobody asked for that")
            body = await _read(response)
            head = response.headers
            return Answer(response.status, body, head.get("ETag"), head.get("Last-Modified"), head.get("Retry-After"))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > BODY_MOST_BYTES:
            response.close()
            raise FeedBroken("too_large", f"the feed's page is larger than {BODY_MOST_BYTES} bytes")
    return bytes(found)
