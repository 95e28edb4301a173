"""Accepting an event that somebody publishes: held to its type, planned with its deliveries, and answered.

What is planned here is written in one go by its caller: by itself, or with the others of its batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

from services.webhooks.desk import Desk
from services.webhooks.events import new_event
from services.webhooks.patterns import is_event_type
from services.webhooks.publishing import FANOUT_AT, merged, plan_any
from services.webhooks.selection import Channel
from shared.kernel.clock import rfc3339
from shared.kernel.ids import new_id
from shared.runtime.bodies import Body, Line
from shared.transport.enqueue import Accepted

CHANNELS_MAX: Final = 10


def _event_type(text: str) -> str:
    if not is_event_type(text):
        raise ValueError("must be segments of letters, digits, _ and - parted by dots, 128 characters at most")
    return text


EventType = Annotated[str, AfterValidator(_event_type)]


class GivenEvent(Body):
    type: EventType
    data: dict[str, Any]
    ordering_key: Line | None = None
    channels: Annotated[list[Channel], Field(max_length=CHANNELS_MAX)] = Field(default_factory=list)


class BatchEvent(GivenEvent):
    idempotency_key: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]+$", max_length=255)] | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be written, and what is answered when it is."""

    event_id: str
    accepted: Accepted
    answer: Mapping[str, Any]


async def plan_event(desk: Desk, given: GivenEvent, tenant: str, now_us: int, *, crowded: bool = False) -> Planned:
    """`crowded`: leave its deliveries to a job, however few they are. Raises BadInput, TooLarge, Conflict."""
    known = await desk.catalogue.check(tenant, given.type, given.data)
    event = new_event(
        new_id("evt"),
        given.type,
        given.data,
        tenant=tenant,
        timestamp=str(rfc3339(now_us)),
        now_us=now_us,
        ordering_key=given.ordering_key,
        channels=given.channels,
        attempts=known.attempts if known is not None else None,
    )
    told = (await desk.catalogue.audience(tenant)).of(event)
    accepted, job = plan_any(event, told, at=0 if crowded else FANOUT_AT)
    answer: dict[str, Any] = {"id": event.id, "deliveries": len(told)}
    if job is not None:
        answer["fan_out"] = {"job": job}
    return Planned(event.id, accepted, answer)


def together(planned: Sequence[Planned]) -> Accepted:
    """Many as one."""
    return merged([one.accepted for one in planned])
