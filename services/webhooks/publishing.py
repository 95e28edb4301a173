"""From an event to its deliveries: one ledger job for each endpoint that is enabled and takes it.

`plan` is pure and makes everything with its ids, so that whoever writes it (a group commit, a request's transaction,
an attempt's) may write it again after an ambiguous commit and change nothing. What an endpoint says about retries
and timeout when the event is accepted bounds its delivery's attempts and time in the ledger. Each endpoint is a lane.
Past FANOUT_AT endpoints one job makes the deliveries, see `services.webhooks.fanout`; up to so many that keep an order
get theirs at once all the same, so that later events do not overtake them.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from services.webhooks import store_events, store_fanout, store_sequence
from services.webhooks.events import NewEvent, Subscription, new_event
from services.webhooks.payload import check_instant, check_type
from services.webhooks.store_audience import read_audiences
from shared.contracts.commands.webhooks import DeliverWebhook, FanOutEvent, PublishEvent
from shared.db.sql import Statement
from shared.db.tx import Tx
from shared.kernel.errors import BadInput
from shared.kernel.ids import is_id
from shared.ledger.store_accept import NewJob, new_job
from shared.transport.enqueue import Accepted, enqueue_all

FANOUT_AT: Final = 100
FANOUT_LANE: Final = "fan-out"
MARGIN_S: Final = 15.0
"""How much longer than the endpoint's timeout a delivery may run: its reads may have to outlast a database restart."""


def plan(event: NewEvent, subscriptions: Sequence[Subscription]) -> Accepted:
    """The event's row, its jobs, and the links between them."""
    jobs = [delivery_job(event, to) for to in subscriptions]
    links = [(event.id, to.endpoint_id, job.id) for to, job in zip(subscriptions, jobs, strict=True)]
    inserts = [(store_events.INSERT_EVENTS, [_row(event)])]
    return link(Accepted(jobs, inserts), links, {to.endpoint_id for to in subscriptions if to.numbered})


def link(accepted: Accepted, links: Sequence[tuple[str, str, str]], numbered: Collection[str]) -> Accepted:
    """The same with these links; those of `numbered` endpoints are counted, one after the other."""
    counted = [one for one in links if one[1] in numbered] if numbered else []
    plain = [one for one in links if one[1] not in numbered] if counted else links
    inserts = [*accepted.inserts, (store_events.INSERT_DELIVERIES, plain)] if plain else list(accepted.inserts)
    if not counted:
        return Accepted(accepted.jobs, inserts)
    return Accepted(accepted.jobs, [*inserts, *store_sequence.numbering(counted)], alone=True)


def merged(planned: Sequence[Accepted]) -> Accepted:
    """Many as one: their jobs, and their rows by statement."""
    rows_of: dict[Statement, list[Sequence[Any]]] = {}
    for one in planned:
        for statement, rows in one.inserts:
            rows_of.setdefault(statement, []).extend(rows)
    jobs = [job for one in planned for job in one.jobs]
    return Accepted(jobs, list(rows_of.items()), alone=any(one.alone for one in planned))


def plan_any(
    event: NewEvent, subscriptions: Sequence[Subscription], at: int = FANOUT_AT
) -> tuple[Accepted, str | None]:
    """As `plan`, with the id of the job that makes the deliveries when they are more than `at`."""
    if len(subscriptions) <= at:
        return plan(event, subscriptions), None
    ordered = [to for to in subscriptions if to.ordering != "none"]
    now = plan(event, ordered if len(ordered) <= FANOUT_AT else [])
    command = FanOutEvent(event_id=event.id)
    job = new_job(command, tenant=event.tenant, now_us=event.created_at, lane=FANOUT_LANE)
    begun = (event.id, job.id, len(subscriptions), len(now.jobs))
    inserts = [*now.inserts, (store_fanout.BEGIN, [begun])]
    return replace(now, jobs=[*now.jobs, job], inserts=inserts), job.id


def event_of(command: PublishEvent, tenant: str, now_us: int) -> NewEvent:
    """The event that another service asks to publish. Raises BadInput, TooLarge: asking again would not help."""
    if not is_id(command.event_id, "evt"):
        raise BadInput(f"{command.event_id[:100]!r} is not the id of an event", pointer="/event_id")
    occurred_at = check_instant(command.occurred_at)
    return new_event(
        command.event_id, check_type(command.type), command.data, tenant=tenant, timestamp=occurred_at, now_us=now_us
    )


async def publish(tx: Tx, event: NewEvent) -> int | None:
    """Accept in the caller's transaction; the number of deliveries, or None when this id was accepted before.

    Reads the subscriptions afresh: who registered an endpoint a moment ago expects the events of now.
    """
    found = await read_audiences(tx, [event.tenant])
    subscriptions = found[event.tenant].of(event)
    written = await write(tx, plan_any(event, subscriptions)[0])
    return None if written is None else len(subscriptions)


async def write(tx: Tx, accepted: Accepted) -> int | None:
    """As `publish`, for deliveries that were planned already."""
    (statement, rows), *links = accepted.inserts
    if not await tx.fetch(statement, None, rows):
        return None
    for statement, rows in links:
        await tx.fetch(statement, None, rows)
    await enqueue_all(tx, accepted.jobs)
    return len(accepted.jobs)


def delivery_job(event: NewEvent, to: Subscription, now_us: int | None = None) -> NewJob:
    """Accepted with the event, unless it comes later: `now_us`."""
    attempts = to.max_attempts if to.scheduled or event.attempts is None else event.attempts
    return new_job(
        DeliverWebhook(event_id=event.id, endpoint_id=to.endpoint_id),
        tenant=event.tenant,
        now_us=event.created_at if now_us is None else now_us,
        max_attempts=attempts,
        timeout_s=to.timeout_s + MARGIN_S,
        lane=to.lane(event),
    )


def _row(event: NewEvent) -> tuple[object, ...]:
    """In the order of INSERT_EVENTS."""
    channels = orjson.dumps(event.channels).decode() if event.channels else None
    return (event.id, event.tenant, event.type, event.body, event.ordering_key, channels, event.created_at)
