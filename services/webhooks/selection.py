"""Which events an endpoint takes, and at what pace: its filter, its channels, its limits and its order. Pure.

An endpoint without channels takes every event of its types; one with channels takes those events that name one of
them, and none that names no channel. The filter comes last. Limits are those of the endpoint's lane: the relay knows
nothing of endpoints.
"""

from math import ceil
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Field, StringConstraints

from services.webhooks.filters import FilterRefused, parse
from services.webhooks.models import Endpoint
from shared.contracts.commands.webhooks import DeliverWebhook
from shared.contracts.lane import LanePolicy
from shared.kernel.errors import BadInput
from shared.runtime.bodies import Body

CHANNELS_MAX: Final = 10
BURST_S: Final = 0.1
"""What a lane may start at once after a rest: so much of its rate, one at least."""

Ordering = Literal["none", "endpoint", "key"]
Channel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=128)]
Channels = Annotated[
    list[Channel],
    Field(max_length=CHANNELS_MAX, description="take only events that name one of these; none: every event"),
]
Filter = Annotated[dict[str, Any], Field(description="take only events that fulfil this condition")]
Rate = Annotated[float, Field(ge=0.001, le=10_000, description="attempts a second, over all workers")]
Concurrency = Annotated[int, Field(ge=1, le=1_000, description="attempts under way at once; 50 unless it is given")]


class NewSelection(Body):
    filter: Filter | None = None
    channels: Channels | None = None
    rate_per_s: Rate | None = None
    concurrency: Concurrency | None = None
    ordering: Annotated[Ordering, Field(description="keep the order of events: of all, or of each ordering_key")] = (
        "none"
    )


class SelectionChange(Body):
    """`null` takes a filter, channels or a limit away."""

    filter: Filter | None = None
    channels: Channels | None = None
    rate_per_s: Rate | None = None
    concurrency: Concurrency | None = None
    ordering: Ordering | None = None


MEMBERS: Final = frozenset(SelectionChange.model_fields)
NULLABLE: Final = MEMBERS - {"ordering"}
_PACE: Final = frozenset({"rate_per_s", "concurrency", "ordering"})


def select(endpoint: Endpoint, given: NewSelection | SelectionChange) -> None:
    """Set what is given. Raises BadInput."""
    for name in given.model_fields_set & MEMBERS:
        value = getattr(given, name)
        if name == "filter" and value is not None:
            value = _filter(value)
        if name == "channels":
            value = orjson.dumps(sorted(set(value))).decode() if value else None
        setattr(endpoint, name, value)


def sets_pace(given: NewSelection | SelectionChange) -> bool:
    return bool(given.model_fields_set & _PACE)


def lane_policy(endpoint: Endpoint) -> LanePolicy | None:
    """None when the limits of every endpoint are those of this one."""
    if endpoint.rate_per_s is None and endpoint.concurrency is None and endpoint.ordering == "none":
        return None
    rate = endpoint.rate_per_s
    return LanePolicy(
        concurrency=endpoint.concurrency or DeliverWebhook.lanes.concurrency,
        rate_per_s=rate,
        burst=max(1, ceil(rate * BURST_S)) if rate else 1,
        ordered=endpoint.ordering != "none",
    )


def shown_selection(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "filter": orjson.loads(endpoint.filter) if endpoint.filter else None,
        "channels": orjson.loads(endpoint.channels) if endpoint.channels else None,
        "rate_per_s": endpoint.rate_per_s,
        "concurrency": endpoint.concurrency,
        "ordering": endpoint.ordering,
    }


def _filter(value: Any) -> str:
    try:
        parse(value)
    except FilterRefused as refused:
        raise BadInput(refused.message, code=refused.code, pointer=f"/filter{refused.pointer}") from None
    return orjson.dumps(value).decode()
