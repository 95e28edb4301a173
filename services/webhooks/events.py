"""Events as they are accepted, and what accepting needs to know of an endpoint. Pure, immutable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.webhooks.patterns import Matcher
from services.webhooks.payload import encode_body


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`body` is the text that is sent and signed; `created_at` is when it was accepted, in microseconds."""

    id: str
    tenant: str
    type: str
    body: str
    created_at: int
    ordering_key: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """The bounds that an endpoint sets to its deliveries when they are accepted."""

    endpoint_id: str
    max_attempts: int
    timeout_s: float


Subscriptions = Matcher[Subscription]


def new_event(
    event_id: str,
    event_type: str,
    data: Mapping[str, Any],
    *,
    tenant: str,
    timestamp: str,
    now_us: int,
    ordering_key: str | None = None,
) -> NewEvent:
    """`timestamp` is RFC 3339, when it happened. Raises TooLarge, BadInput."""
    return NewEvent(event_id, tenant, event_type, encode_body(event_type, timestamp, data), now_us, ordering_key)
