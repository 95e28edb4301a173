"""The seam between a delivery and what carries it: HTTP, a stream of Redis, a bucket.

The invariants that every kind keeps: the body is the bytes that were signed, and the three headers of Standard
Webhooks go with it; every address is vetted when it is connected to; one deadline covers everything; what went wrong
comes back as an `Answer`, whose status is HTTP's word for it, so that one set of rules decides about retries
(2xx is done, 429 and 503 slow the lane down, anything else follows the schedule). Never an exception of the network.
"""

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from pydantic import ValidationError

from services.webhooks.answers import Answer, clean
from services.webhooks.failures import explain
from services.webhooks.sender import Sender
from shared.kernel.errors import BadInput
from shared.runtime.addresses import AddressPolicy
from shared.runtime.bodies import Body


class To(Protocol):
    """The part of a target that a destination reads; `config` is what its own `open` made."""

    @property
    def id(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def config(self) -> Any: ...


class Destination(ABC):
    """One for each process and kind, made with the first delivery. `Config` is what a tenant says of it."""

    kind: ClassVar[str]
    Config: ClassVar[type[Body]]

    def __init__(self, sender: Sender) -> None:
        self.sender = sender

    @classmethod
    @abstractmethod
    def location(cls, config: Any, policy: AddressPolicy) -> str:
        """A URL that says where it is, without credentials. Raises BadInput for what is not to be reached."""

    @classmethod
    @abstractmethod
    def shown(cls, config: dict[str, Any]) -> dict[str, Any]:
        """What is shown of a config: no secret of it."""

    @classmethod
    def judged(cls, to: To) -> str:
        """A URL with the host and port that it connects to: whether a refusal is of what they are in themselves."""
        return to.url

    @classmethod
    def open(cls, config: dict[str, Any], endpoint_id: str) -> Any:  # noqa: ARG003 - who keeps things by endpoint needs it
        """What `send` finds in a target, from what was sealed."""
        return cls.Config.model_validate(config)

    @abstractmethod
    async def send(self, to: To, event_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """One attempt. `headers`: the signature's three, and the endpoint's own."""

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Nothing is held, unless a kind says otherwise."""


def failed(error: Exception, began: float, timeout_s: float) -> Answer:
    """The answer of an attempt that ended in an exception of the network; `began` by `perf_counter`."""
    latency_ms = (time.perf_counter() - began) * 1000.0
    if isinstance(error, socket.gaierror):
        return Answer(None, "dns", clean(f"no address: {error.strerror or error}"), latency_ms)
    if isinstance(error, ConnectionRefusedError):
        return Answer(None, "refused", "nothing listens there", latency_ms)
    if isinstance(error, (asyncio.IncompleteReadError, EOFError)):
        error = ConnectionResetError("the connection closed before a reply came")
    if isinstance(error, ValueError):
        return Answer(None, "protocol", clean(str(error)), latency_ms)
    kind, words = explain(error, timeout_s=timeout_s, part="answer")
    return Answer(None, kind, words, latency_ms)


def read_config(kind: type[Destination], given: Mapping[str, Any]) -> Any:
    """The config as its kind reads it. Raises BadInput that names the member at fault."""
    try:
        return kind.Config.model_validate(given)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        pointer = "".join(f"/{part}" for part in ("config", *first["loc"]))
        raise BadInput(first["msg"].removeprefix("Value error, "), code="config_refused", pointer=pointer) from None
