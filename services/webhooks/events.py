"""Events as they are accepted, and who is told of which: what accepting needs to know of a tenant. Pure, immutable."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from services.webhooks.filters import Condition
from services.webhooks.patterns import Matcher
from services.webhooks.payload import encode_body


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`body` is the text that is sent and signed; `created_at` is when it was accepted, in microseconds.

    `attempts` is how many its type allows, None when the type says nothing; `facts` is what filters look at.
    """

    id: str
    tenant: str
    type: str
    body: str
    created_at: int
    ordering_key: str | None = None
    channels: tuple[str, ...] = ()
    attempts: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Subscription:
    """The bounds that an endpoint sets to its deliveries when they are accepted, and what it takes of its types.

    `scheduled`: the endpoint has a schedule of its own, which goes before that of the event's type. The
    deliveries of `numbered` ones get a number.
    """

    endpoint_id: str
    max_attempts: int
    timeout_s: float
    numbered: bool = False
    scheduled: bool = field(default=True, kw_only=True)
    ordering: str = field(default="none", kw_only=True)
    channels: frozenset[str] | None = field(default=None, kw_only=True)
    filter: Condition | None = field(default=None, kw_only=True)

    @property
    def is_picky(self) -> bool:
        return self.channels is not None or self.filter is not None

    def takes(self, event: NewEvent) -> bool:
        """Of an event of one of its types."""
        if self.channels is not None and self.channels.isdisjoint(event.channels):
            return False
        return self.filter is None or self.filter(event.facts)

    def lane(self, event: NewEvent) -> str:
        """With an order of keys, each key's own, in the endpoint's; what has no key waits for nothing."""
        if self.ordering != "key":
            return self.endpoint_id
        key = event.ordering_key
        name = event.id if key is None else blake2b(key.encode(), digest_size=12).hexdigest()
        return f"{self.endpoint_id}:{name}"


@dataclass(frozen=True, slots=True)
class KnownType:
    """A type that a tenant has registered; `made` is another one with every change of it."""

    tenant: str
    name: str
    made: str
    has_schema: bool
    attempts: int | None
    archived: bool


class Audience:
    """A tenant's enabled endpoints and its event types, as they were at `mark`. Asked for every event."""

    def __init__(
        self,
        pairs: Iterable[tuple[Iterable[str], Subscription]],
        types: Iterable[KnownType] = (),
        mark: str | None = None,
    ) -> None:
        listed = list(pairs)
        self._matcher: Matcher[Subscription] = Matcher(listed)
        self._is_picky = any(to.is_picky for _, to in listed)
        self.types: Mapping[str, KnownType] = {known.name: known for known in types}
        self.mark = mark

    def __len__(self) -> int:
        return len(self._matcher) + len(self.types)

    def named(self, event_type: str) -> list[Subscription]:
        """Those whose types this is one of."""
        return self._matcher.of(event_type)

    def of(self, event: NewEvent) -> Sequence[Subscription]:
        """Those that are told of the event, in the order of their ids."""
        found = self._matcher.of(event.type)
        if not self._is_picky:
            return found
        return [to for to in found if not to.is_picky or to.takes(event)]


def new_event(
    event_id: str,
    event_type: str,
    data: Mapping[str, Any],
    *,
    tenant: str,
    timestamp: str,
    now_us: int,
    ordering_key: str | None = None,
    channels: Sequence[str] = (),
    attempts: int | None = None,
) -> NewEvent:
    """`timestamp` is RFC 3339, when it happened. Raises TooLarge, BadInput."""
    facts = {"type": event_type, "timestamp": timestamp, "data": data}
    return NewEvent(
        event_id, tenant, event_type, encode_body(event_type, timestamp, data), now_us, ordering_key,
        tuple(channels), attempts, facts,
    )  # fmt: skip
