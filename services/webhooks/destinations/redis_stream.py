"""A stream of a tenant's Redis or Valkey: one entry for each delivery, by XADD, trimmed to about `max_len`.

An entry holds `webhook-id`, `webhook-timestamp`, `webhook-signature`, `content-type` and `body`, the very bytes that
were signed. XADD is no idempotent command: an attempt whose answer was lost is made again, and `webhook-id` tells. Of
the protocol only what these few replies need is read, so that a server that is none cannot make us allocate or wait.
Refuses the streams that carry Holdfast's own jobs.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, StringConstraints, field_validator

from services.webhooks.answers import Answer, ErrorKind, clean
from services.webhooks.destinations.base import Destination, To, failed
from services.webhooks.sender import Sender
from shared.kernel.errors import BadInput
from shared.runtime.addresses import AddressPolicy, EgressRefused, check_url
from shared.runtime.bodies import Body

PORT: Final = 6379
LINE_MAX_BYTES: Final = 8_192
IDLE_S: Final = 4.0
IDLE_MAX: Final = 64
_FIELDS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
# Redis's first word of an error → what HTTP says for it.
_STATUSES: Final = {
    "NOAUTH": 401, "WRONGPASS": 401, "NOPERM": 403, "WRONGTYPE": 409, "OOM": 429, "BUSY": 503, "LOADING": 503,
    "MASTERDOWN": 503, "CLUSTERDOWN": 503, "TRYAGAIN": 503, "READONLY": 503, "MOVED": 307, "ASK": 307,
}  # fmt: skip
Stream = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class RedisStreamConfig(Body):
    """`url`: `redis://host[:port][/db]`, or `rediss://` for TLS, without user and password: those are members."""

    url: Annotated[str, Field(min_length=1, max_length=2_048)]
    stream: Stream
    max_len: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    username: Word | None = Field(default=None, repr=False)
    password: Word | None = Field(default=None, repr=False)

    @field_validator("stream")
    @classmethod
    def _not_ours(cls, value: str) -> str:
        if value.startswith("holdfast:"):
            raise ValueError("streams that begin with holdfast: carry Holdfast's own jobs")
        return value


class RedisRefused(Exception):
    """Redis answered with an error; its words are in it."""


class RedisStream(Destination):
    kind: ClassVar[str] = "redis_stream"
    Config: ClassVar[type[Body]] = RedisStreamConfig

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self._idle: dict[_Line, tuple[float, str, RedisStreamConfig]] = {}  # the longest idle first
        self._context: ssl.SSLContext | None = None

    @classmethod
    def location(cls, config: RedisStreamConfig, policy: AddressPolicy) -> str:
        host, port, tls, db = _read(config.url, policy)
        shown = f"[{host}]" if ":" in host else host
        return f"redis{'s' if tls else ''}://{shown}:{port}/{db}?stream={config.stream}"

    @classmethod
    def shown(cls, config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "password": None if config.get("password") is None else "***"}

    @classmethod
    def judged(cls, to: To) -> str:
        host, port, _, _ = _read(to.config.url, None)
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    async def send(self, to: To, event_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:  # noqa: ARG002
        began = time.perf_counter()
        config: RedisStreamConfig = to.config
        entry = [part for name in _FIELDS if name in headers for part in (name, headers[name])]
        command = ["XADD", config.stream, "MAXLEN", "~", str(config.max_len), "*", *entry]
        try:
            async with asyncio.timeout(timeout_s):
                said = await self._say(to.id, config, [*command, "content-type", "application/json", "body", body])
        except RedisRefused as refused:
            return _refusal(str(refused), began)
        except Exception as error:
            return failed(error, began, timeout_s)
        return Answer(200, None, None, (time.perf_counter() - began) * 1000.0, (("x-redis-entry", said),))

    async def _say(self, endpoint_id: str, config: RedisStreamConfig, command: list[str | bytes]) -> str:
        line = self._kept(endpoint_id, config) or await self._open(config)
        try:
            said = await line.ask(command)
        except BaseException as error:
            if isinstance(error, RedisRefused):
                self._keep(endpoint_id, config, line)
            else:
                line.close()
            raise
        self._keep(endpoint_id, config, line)
        return said

    async def _open(self, config: RedisStreamConfig) -> "_Line":
        host, port, tls, db = _read(config.url, None)
        sock = await self.sender.dialer.connect(host, port)
        if tls and self._context is None:
            self._context = ssl.create_default_context()
        context, name = (self._context, host) if tls else (None, None)
        try:
            line = _Line(
                *await asyncio.open_connection(sock=sock, limit=LINE_MAX_BYTES, ssl=context, server_hostname=name)
            )
        except BaseException:
            sock.close()
            raise
        try:
            if config.password is not None:
                await line.ask(["AUTH", *([config.username] if config.username else []), config.password])
            if db:
                await line.ask(["SELECT", str(db)])
        except BaseException:
            line.close()
            raise
        return line

    def _kept(self, endpoint_id: str, config: RedisStreamConfig) -> "_Line | None":
        """The one that was idle last: it is the likeliest to be alive."""
        self._tidy()
        for line, (_, *whose) in reversed(self._idle.items()):
            if whose == [endpoint_id, config]:
                del self._idle[line]
                return line
        return None

    def _keep(self, endpoint_id: str, config: RedisStreamConfig, line: "_Line") -> None:
        self._idle[line] = (time.monotonic(), endpoint_id, config)
        self._tidy()

    def _tidy(self) -> None:
        """Close what is of no use, has been idle for too long, or is too many."""
        now_s = time.monotonic()
        for line, (since_s, *_) in list(self._idle.items()):
            if now_s - since_s >= IDLE_S or len(self._idle) > IDLE_MAX or not line.usable:
                del self._idle[line]
                line.close()

    async def close(self) -> None:
        for line in self._idle:
            line.close()
        self._idle.clear()


class _Line:
    """One connection; `ask` is one command and its one reply."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def usable(self) -> bool:
        """Alive, and with nothing unread: a reply too many would pass for the next command's."""
        unread = self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way to ask
        return not unread and not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(self, words: list[str | bytes]) -> str:
        """Raises RedisRefused, ConnectionError, and ValueError for what is no reply of Redis."""
        parts = [word if isinstance(word, bytes) else word.encode() for word in words]
        self._writer.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
        await self._writer.drain()
        line = await self._line()
        mark, rest = line[:1], line[1:].decode("utf-8", "replace")
        if mark == b"-":
            raise RedisRefused(rest)
        if mark in (b"+", b":"):
            return rest
        if mark == b"$" and rest.isdecimal() and int(rest) <= LINE_MAX_BYTES:
            return (await self._reader.readexactly(int(rest) + 2))[:-2].decode("utf-8", "replace")
        raise ValueError("what came is no reply of Redis to this command")

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the connection closed before a reply came")
        return line[:-2]

    def close(self) -> None:
        self._writer.transport.abort()


def _read(url: str, policy: AddressPolicy | None) -> tuple[str, int, bool, int]:
    """(host, port, TLS, db). Raises BadInput; `policy` None for what was judged when it was stored."""
    scheme, mark, rest = url.partition("://")
    path = rest.partition("/")[2].strip("/")
    if not mark or scheme not in ("redis", "rediss") or "?" in rest or not (path or "0").isdecimal() or len(path) > 4:
        raise _refused("must be redis://host[:port][/db], or rediss:// for TLS")
    netloc = rest.partition("/")[0]
    if "@" in netloc:
        raise _refused("user and password are members of their own")
    if not netloc.rpartition("]")[2].count(":"):
        netloc += f":{PORT}"
    try:
        parsed = check_url(f"http://{netloc}/", policy or _ANY)
    except EgressRefused as refused:
        raise _refused(refused.message, code="url_refused", reason=refused.reason) from None
    return parsed.host, parsed.port, scheme == "rediss", int(path or "0")


def _refused(message: str, code: str = "config_refused", **details: str) -> BadInput:
    return BadInput(message, code=code, pointer="/config/url", **details)


def _refusal(words: str, began: float) -> Answer:
    status = _STATUSES.get(words.partition(" ")[0], 500)
    kind: ErrorKind | None = None
    return Answer(status, kind, None, (time.perf_counter() - began) * 1000.0, (), clean(words))


_ANY: Final = AddressPolicy.from_cidrs(["0.0.0.0/0", "::/0"])  # for reading only: the dialer judges every address
DESTINATION = RedisStream
