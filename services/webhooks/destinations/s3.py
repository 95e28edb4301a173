"""A bucket of S3's kind: one object for each event and endpoint, so that an attempt made again writes the same one.

The object is the very bytes that were signed, at `<prefix><endpoint id>/<event id>.json`; the three headers of
Standard Webhooks are its metadata. obstore's connections are not ours: it is sent through the process's `Gateway`,
which vets and pins. Credentials are the tenant's own, never the process's: nothing of its environment is used.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from services.webhooks.answers import Answer, ErrorKind, clean
from services.webhooks.destinations.base import Destination, To, failed
from services.webhooks.sender import Sender
from shared.kernel.errors import BadInput
from shared.runtime.addresses import AddressPolicy, EgressRefused, check_url
from shared.runtime.bodies import Body
from shared.runtime.gateway import NO_WAY, Gateway

STORES_KEPT: Final = 256
_STATUS: Final = re.compile(r"status code: (\d{3})[^:]*:? ?(.*?)(?:\n\nDebug source|\Z)", re.DOTALL)
_METADATA: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
Credential = Annotated[str, StringConstraints(min_length=1, max_length=4_096, pattern=r"^[\x21-\x7e]+$")]


class S3Config(Body):
    """`endpoint`: of a service that speaks S3 and is not AWS; `path_style` is the default there."""

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")] = "us-east-1"
    prefix: Annotated[str, StringConstraints(max_length=500, pattern=r"^([A-Za-z0-9_=.-]+/)*$")] = ""
    access_key_id: Credential
    secret_access_key: Credential = Field(repr=False)
    session_token: Credential | None = Field(default=None, repr=False)
    endpoint: Annotated[str, Field(min_length=1, max_length=2_048)] | None = None
    path_style: bool | None = None

    @property
    def by_path(self) -> bool:
        """A dot in a bucket's name is more than the wildcard of a certificate stands for."""
        return self.path_style if self.path_style is not None else self.endpoint is not None or "." in self.bucket

    @property
    def root(self) -> str:
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"


class S3(Destination):
    kind: ClassVar[str] = "s3"
    Config: ClassVar[type[Body]] = S3Config

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self._gateway = Gateway(sender.dialer)
        self._starting = asyncio.Lock()
        self._started = False
        self._stores: OrderedDict[S3Config, Any] = OrderedDict()

    @classmethod
    def location(cls, config: S3Config, policy: AddressPolicy) -> str:
        url = _vetted(config.root, policy, "/config/endpoint")
        if urlsplit(url).path != "/" or urlsplit(url).query:
            raise BadInput(
                "an endpoint is a scheme, a host and a port", code="config_refused", pointer="/config/endpoint"
            )
        _vetted(
            _root(config), policy, "/config/path_style"
        )  # not every bucket makes a host, nor does one of an address
        if any(part in (".", "..") for part in config.prefix.split("/")):
            raise BadInput("a prefix has no . and no ..", code="config_refused", pointer="/config/prefix")
        return f"s3://{config.bucket}/{config.prefix}"

    @classmethod
    def shown(cls, config: dict[str, Any]) -> dict[str, Any]:
        hidden = {name: "***" for name in ("secret_access_key", "session_token") if config.get(name) is not None}
        return {**config, **hidden}

    @classmethod
    def judged(cls, to: To) -> str:
        return _root(to.config)

    async def send(self, to: To, event_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        began = time.perf_counter()
        config: S3Config = to.config
        key = f"{config.prefix}{to.id}/{event_id}.json"
        metadata = {name: headers[name] for name in _METADATA if name in headers}
        try:
            async with asyncio.timeout(timeout_s):
                put = await self._put(config, key, body, {"Content-Type": "application/json", **metadata})
        except Exception as error:
            return self._failure(config, error, began, timeout_s)
        kept = (("etag", str(put.get("e_tag") or "")), ("x-s3-key", key))
        return Answer(200, None, None, (time.perf_counter() - began) * 1000.0, kept)

    async def _put(self, config: S3Config, key: str, body: bytes, attributes: dict[str, str]) -> Any:
        import obstore  # noqa: PLC0415 - of processes that have such an endpoint

        return await obstore.put_async(await self._store(config), key, body, attributes=attributes, use_multipart=False)

    async def _store(self, config: S3Config) -> Any:
        async with self._starting:
            if not self._started:
                await self._gateway.start()
                self._started = True
        store = self._stores.get(config)
        if store is None:
            store = self._stores[config] = _open_store(config, self._gateway.url_for(*_place(config)))
            while len(self._stores) > STORES_KEPT:
                self._stores.popitem(last=False)
        else:
            self._stores.move_to_end(config)
        return store

    def _failure(self, config: S3Config, error: Exception, began: float, timeout_s: float) -> Answer:
        """The server's own status when one came; else what kept the connection from being made."""
        if isinstance(error, (TimeoutError, EgressRefused)):
            return failed(error, began, timeout_s)
        found = _STATUS.search(str(error))
        if found is None or NO_WAY in found[2]:
            # Only then: another delivery to the same place may have failed to get there a moment ago.
            refused = self._gateway.why(*_place(config)) if self._started else None
            if refused is not None:
                return failed(refused, began, timeout_s)
            words = str(error).partition("\n\nDebug source")[0]
            kind: ErrorKind = "tls" if "certificate" in words else "disconnected"
            return Answer(None, kind, clean(words), (time.perf_counter() - began) * 1000.0)
        return Answer(int(found[1]), None, None, (time.perf_counter() - began) * 1000.0, (), clean(found[2], 4_000))

    async def close(self) -> None:
        self._stores.clear()
        await self._gateway.close()


def _open_store(config: S3Config, proxy_url: str) -> Any:
    from obstore.store import S3Store  # noqa: PLC0415 - as above

    async def credentials() -> Any:
        return {
            "access_key_id": config.access_key_id, "secret_access_key": config.secret_access_key,
            "token": config.session_token, "expires_at": None,
        }  # fmt: skip

    options: Any = {
        # All of them said: what is not would be read from the process's own environment.
        "endpoint": _root(config).rstrip("/"), "region": config.region,
        "virtual_hosted_style_request": not config.by_path,
        "skip_signature": False, "unsigned_payload": False, "request_payer": False, "s3_express": False,
        "disable_tagging": True, "imdsv1_fallback": False,
    }  # fmt: skip
    return S3Store(
        config.bucket,
        config=options,
        credential_provider=credentials,
        # No connection is kept: the gateway's bounds are of one connection, and it passes on one request of each.
        client_options={
            "allow_http": True,
            "proxy_url": proxy_url,
            "timeout": timedelta(seconds=90),
            "pool_max_idle_per_host": "0",
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=90)},
    )


def _vetted(url: str, policy: AddressPolicy, pointer: str) -> str:
    """In its one spelling. Raises BadInput."""
    try:
        return check_url(url, policy).url
    except EgressRefused as refused:
        raise BadInput(
            f"nothing can be stored there: {refused.message}",
            code="url_refused", pointer=pointer, reason=refused.reason,
        ) from None  # fmt: skip


def _place(config: S3Config) -> tuple[str, int]:
    parsed = check_url(_root(config), _ANY)
    return parsed.host, parsed.port


def _root(config: S3Config) -> str:
    """In the one spelling that obstore asks the gateway in; with the bucket in its host, unless that is in the path."""
    url = check_url(config.root, _ANY).url
    if config.by_path:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{config.bucket}.{rest}"


_ANY: Final = AddressPolicy.from_cidrs(["0.0.0.0/0", "::/0"])  # for reading only: the gateway judges every address


DESTINATION = S3
