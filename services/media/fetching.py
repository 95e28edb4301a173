"""Fetching what a tenant's URL names: one bounded GET, to addresses that were vetted, streamed on as it comes.

Every connection passes the egress guard: the name is looked up once, its addresses are judged, and the socket goes to
one of those very addresses. Redirects are followed by hand, few of them, each judged as the first URL was, and never
from https to http. No cookies, no proxies from the environment, no compressed transfers, no credentials.

Refuses (FetchRefused) answers that would be the same again; FetchBroken may be tried again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from shared.kernel.errors import BadInput, HoldfastError
from shared.ledger.progress import storable
from shared.runtime.egress import AddressPolicy, EgressRefused, ParsedUrl, build_connector, check_url

REDIRECTS_MOST = 5
CONNECT_S = 15.0
SILENCE_S = 30.0  # between two chunks, and until the head has come
HEADER_MOST_BYTES = 8190
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 425, 429})


class FetchRefused(BadInput):
    """The server's answer is none that can be used; trying again gives the same."""

    code = "fetch_refused"


class FetchBroken(HoldfastError):
    """The server did not answer, or not to the end."""

    status = 502
    code = "fetch_broken"


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer whose body is still to be read; `size_bytes` is what it was said to have."""

    url: str
    size_bytes: int | None
    chunks: AsyncIterator[bytes]


@contextlib.asynccontextmanager
async def fetched(url: str, policy: AddressPolicy, *, within_s: float) -> AsyncIterator[Fetched]:
    """Raises EgressRefused, FetchRefused and FetchBroken; the chunks raise FetchBroken. `within_s` is for all of it:

    redirects, the body, and what is done with it in this context.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    connector = build_connector(policy, limit=1, limit_per_host=1, keepalive_s=1.0)
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "Holdfast-Media/1"}
    clock = asyncio.timeout(within_s)
    try:
        async with clock, aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=headers, auto_decompress=False,
            trust_env=False, timeout=timeout, max_line_size=HEADER_MOST_BYTES, max_field_size=HEADER_MOST_BYTES,
        ) as session:  # fmt: skip
            response = await _follow(session, url, policy)
            try:
                yield Fetched(str(response.url), response.content_length, _chunks(response))
            finally:
                response.close()
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise _broken(url, error) from error


async def _follow(session: aiohttp.ClientSession, url: str, policy: AddressPolicy) -> aiohttp.ClientResponse:
    target = check_url(url, policy)
    for _ in range(REDIRECTS_MOST + 1):
        response = await _ask(session, target.url)
        if response.status not in _REDIRECTS:
            return _checked(response)
        location = response.headers.get("Location", "")
        response.close()
        if not location:
            raise FetchRefused(f"{target.host} redirects without saying where to", found=response.status)
        hop = check_url(_joined(target, location), policy)
        if target.scheme == "https" and hop.scheme == "http":
            raise FetchRefused(f"{target.host} redirects from https to http, which is not followed", found=hop.scheme)
        target = hop
    raise FetchRefused(f"more than {REDIRECTS_MOST} redirects", limit=REDIRECTS_MOST)


def _joined(target: ParsedUrl, location: str) -> str:
    kept = storable(location)  # bytes outside UTF-8 are lone surrogates here, of which no refusal can be written down
    try:
        if kept == location:
            return urljoin(target.url, location.partition("#")[0])
    except ValueError:
        pass
    raise FetchRefused(f"{target.host} redirects to what is no URL", found=kept[:200])


async def _ask(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    try:
        return await session.get(URL(url, encoded=True), allow_redirects=False)
    except EgressRefused:
        raise
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise _broken(url, error) from error


def _checked(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    host = response.url.host
    if response.status in _LATER or response.status >= 500:
        response.close()
        raise FetchBroken(f"{host} answered {response.status}", found=response.status)
    if response.status != 200:
        response.close()
        raise FetchRefused(f"{host} answered {response.status}, 200 is needed", found=response.status)
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        response.close()
        words = f"{host} answered with a compressed body, and nobody asked for that"
        raise FetchRefused(words, found=storable(coding)[:40])
    return response


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise _broken(str(response.url), error) from error


def _broken(url: str, error: Exception) -> FetchBroken:
    host = URL(url).host
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return FetchBroken(f"{host} took too long")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FetchBroken(f"the name {host} has no address")
    if isinstance(error, aiohttp.ClientPayloadError):
        return FetchBroken(f"{host} ended its answer before all of it had come")
    return FetchBroken(f"{host} could not be asked: {type(error).__name__}")
