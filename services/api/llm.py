"""Calls of a language model: one streamed request to the one configured API, through the guard of all egress.

A call ends in every case: at its total deadline, when the model says nothing for too long (comments and keep-alives are
nothing), at the limit of the answer, and at once when its task is cancelled; its connection goes with it unless the
answer came whole. `LlmRefused` says that asking again would not help, `LlmFailed` that it may. Follows no redirects.
The key is in no message of ours, whatever the server says.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from services.api.completion import Completion, Interrupted, Malformed, words_of
from services.api.settings import ApiSettings
from shared.kernel.errors import Misconfigured
from shared.runtime import sse
from shared.runtime.egress import AddressPolicy, EgressRefused, Resolver, SocketGate, build_connector, check_url
from shared.runtime.retry_after import parse_retry_after

CONNECT_LIMIT_S: Final = 10.0
CONNECTIONS_MAX: Final = 256
KEEPALIVE_S: Final = 4.0
CLOSE_LIMIT_S: Final = 1.0
WISH_MOST_S: Final = 600.0  # of a Retry-After: a server must not be able to park a job for a day
EVENT_LIMIT_BYTES: Final = 256 * 1024
WIRE_LIMIT_BYTES: Final = 32 * 1024 * 1024
ERROR_LIMIT_BYTES: Final = 8 * 1024
USER_AGENT: Final = "Holdfast/1"
PASSING: Final = frozenset({408, 409, 425, 429})  # and every 5xx
_NETWORK: Final = (aiohttp.ClientError, OSError, ValueError, RuntimeError)


class LlmRefused(Exception):
    """The same request would be refused again. `kind` is one word for machines."""

    def __init__(self, words: str, kind: str) -> None:
        super().__init__(words)
        self.kind = kind


class LlmFailed(Exception):
    """The call may succeed later; not before `wish_s` seconds, if the server said so."""

    def __init__(self, words: str, wish_s: float | None = None) -> None:
        super().__init__(words)
        self.wish_s = wish_s


class Llm:
    """`start` inside the loop that will use it, `close` at the end; `complete` from any number of tasks between."""

    def __init__(self, settings: ApiSettings, policy: AddressPolicy, *, resolver: Resolver | None = None) -> None:
        """Raises Misconfigured for an address that is none, or that the policy forbids as it stands."""
        self.model = settings.llm_model
        self._settings = settings
        self._policy = policy
        self._resolver = resolver
        self._gate = SocketGate(policy)
        self._session: aiohttp.ClientSession | None = None
        self._key = settings.llm_key.get_secret_value()
        if not (self._key.isascii() and self._key.isprintable()):
            raise Misconfigured("HOLDFAST_API_LLM_KEY holds what no header does: a line break, a letter beyond ASCII")
        try:
            base = check_url(settings.llm_url, policy).url
        except EgressRefused as refused:
            words = f"HOLDFAST_API_LLM_URL: {refused.message}; HOLDFAST_EGRESS_ALLOW names networks that may be reached"
            raise Misconfigured(words) from None
        self._url = URL(base.rstrip("/") + "/chat/completions", encoded=True)

    async def start(self) -> None:
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json", "Accept": sse.MEDIA_TYPE}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=build_connector(
                self._policy, limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_MAX, keepalive_s=KEEPALIVE_S,
                resolver=self._resolver, gate=self._gate,
            ),
            cookie_jar=aiohttp.DummyCookieJar(), headers={**headers, "Accept-Encoding": "identity"},
            raise_for_status=False, trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT_S),
        )  # fmt: skip

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        closing = asyncio.ensure_future(session.close())
        _, late = await asyncio.wait({closing}, timeout=CLOSE_LIMIT_S)
        if late:
            self._gate.cut()
            await asyncio.wait(late, timeout=CLOSE_LIMIT_S)

    @property
    def open_sockets(self) -> int:
        return self._gate.open_count

    async def complete(self, body: bytes, *, key: str, say: Callable[[str], None]) -> Completion:
        """Each piece of text goes to `say` as it comes. `key` is the Idempotency-Key: the same for the same request.

        Raises LlmRefused, LlmFailed, and what `say` raises.
        """
        found = Completion(self._settings.llm_answer_limit_bytes)
        total_s = self._settings.llm_total_s
        total = asyncio.timeout(total_s)
        try:
            async with total:
                await self._stream(body, key, found, say)
        except TimeoutError:
            if not total.expired():
                raise
            raise LlmFailed(f"the answer had no end within {total_s:g} s") from None
        return found

    async def _stream(self, body: bytes, key: str, found: Completion, say: Callable[[str], None]) -> None:
        if self._session is None:
            raise RuntimeError("the client is not started")
        idle_s = self._settings.llm_idle_s
        idle = asyncio.timeout(idle_s)
        response: aiohttp.ClientResponse | None = None
        try:
            async with idle:
                response = await self._asked(self._session, body, key)
                await self._accepted(response)
                await self._read(response, found, say, lambda: idle.reschedule(_now_s() + idle_s))
        except TimeoutError:
            if not idle.expired():
                raise
            raise LlmFailed(f"nothing of the answer came for {idle_s:g} s") from None
        finally:
            if response is not None:
                _let_go(response, whole=found.done)

    async def _asked(self, session: aiohttp.ClientSession, body: bytes, key: str) -> aiohttp.ClientResponse:
        try:
            return await session.post(self._url, data=body, headers={"Idempotency-Key": key}, allow_redirects=False)
        except EgressRefused as refused:
            raise LlmRefused(refused.message, "egress") from None
        except TimeoutError:  # of the connection: our own limits come as cancellations until they leave `_stream`
            raise LlmFailed(f"no connection within {CONNECT_LIMIT_S:g} s") from None
        except _NETWORK as error:
            raise LlmFailed(f"the request did not get through: {self._said(error)}") from None

    async def _accepted(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status != 200:
            words = f"the model's server answered {status}: {await self._reason(response)}"
            if status in PASSING or status >= 500:
                after = parse_retry_after(response.headers.get("Retry-After"), now_s=time.time(), max_s=WISH_MOST_S)
                raise LlmFailed(words, after)
            raise LlmRefused(words, f"http_{status}")
        if response.content_type != sse.MEDIA_TYPE:
            said = self._unkeyed(response.content_type)[:100]
            words = f"the model's server answered {said}, not {sse.MEDIA_TYPE}"
            raise LlmRefused(words, "no_stream")

    async def _read(
        self, response: aiohttp.ClientResponse, found: Completion, say: Callable[[str], None], heard: Callable[[], None]
    ) -> None:
        reader, size, unended = sse.Reader(), 0, 0
        try:
            async for piece in response.content.iter_any():
                size, unended = size + len(piece), unended + len(piece)
                for event in reader.feed(piece):
                    unended = 0
                    heard()
                    if text := found.take(self._unkeyed(str(event.data))):
                        say(text)
                    if found.done or found.cut:
                        return
                if unended > EVENT_LIMIT_BYTES or size > WIRE_LIMIT_BYTES:
                    raise LlmFailed("the stream is larger than any answer: an event without an end, or too many")
        except (Malformed, Interrupted) as wrong:
            raise LlmFailed(f"the answer broke off: {wrong}") from None
        except _NETWORK as error:
            raise LlmFailed(f"the connection was lost in the middle of the answer: {self._said(error)}") from None
        raise LlmFailed("the connection ended before the answer did")

    async def _reason(self, response: aiohttp.ClientResponse) -> str:
        """What the error's body says, on one line; what cannot be read says nothing. The key goes before any cut."""
        raw = b""
        try:
            while len(raw) < ERROR_LIMIT_BYTES and (piece := await response.content.read(ERROR_LIMIT_BYTES - len(raw))):
                raw += piece
        except (aiohttp.ClientError, OSError):
            raw = b""
        fallback = self._unkeyed(response.reason or "")
        text = self._unkeyed(raw.decode("utf-8", "replace"))
        try:
            document: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            return words_of(text) or fallback
        error = document.get("error", document) if isinstance(document, dict) else document
        return words_of(error) or fallback

    def _said(self, error: BaseException) -> str:
        return self._unkeyed(" ".join((str(error) or type(error).__name__).split()))[:200]

    def _unkeyed(self, words: str) -> str:
        return words.replace(self._key, "***") if self._key else words


def _let_go(response: aiohttp.ClientResponse, *, whole: bool) -> None:
    """A connection whose answer was not read to its end is aborted: the server is to stop at once."""
    if whole:
        response.release()
        return
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
