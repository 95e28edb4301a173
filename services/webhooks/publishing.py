"""From an event to its deliveries: one ledger job for each endpoint that is enabled and subscribed.

`plan` is pure and makes everything with its ids, so that whoever writes it (a group commit, a request's transaction,
an attempt's) may write it again after an ambiguous commit and change nothing. What an endpoint says about retries
and timeout when the event is accepted bounds its delivery's attempts and time in the ledger. Each endpoint is a lane.
"""

from collections.abc import Sequence
from typing import Final

from services.webhooks import store_events
from services.webhooks.events import NewEvent, Subscription, new_event
from services.webhooks.payload import check_instant, check_type
from shared.contracts.commands.webhooks import DeliverWebhook, PublishEvent
from shared.db.tx import Tx
from shared.kernel.errors import BadInput
from shared.kernel.ids import is_id
from shared.ledger.store_accept import NewJob, new_job
from shared.transport.enqueue import Accepted, enqueue_all

MARGIN_S: Final = 15.0
"""How much longer than the endpoint's timeout a delivery may run: its reads may have to outlast a database restart."""


def plan(event: NewEvent, subscriptions: Sequence[Subscription]) -> Accepted:
    """The event's row, its jobs, and the links between them."""
    jobs = [_job(event, to) for to in subscriptions]
    links = [(event.id, to.endpoint_id, job.id) for to, job in zip(subscriptions, jobs, strict=True)]
    row = (event.id, event.tenant, event.type, event.body, event.ordering_key, event.created_at)
    inserts = [(store_events.INSERT_EVENTS, [row])]
    return Accepted(jobs, [*inserts, (store_events.INSERT_DELIVERIES, links)] if links else inserts)


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
    found = await store_events.read_subscriptions(tx, [event.tenant])
    return await write(tx, plan(event, found[event.tenant].of(event.type)))


async def write(tx: Tx, accepted: Accepted) -> int | None:
    """As `publish`, for deliveries that were planned already."""
    (statement, rows), *links = accepted.inserts
    if not await tx.fetch(statement, None, rows):
        return None
    for statement, rows in links:
        await tx.fetch(statement, None, rows)
    await enqueue_all(tx, accepted.jobs)
    return len(accepted.jobs)


def _job(event: NewEvent, to: Subscription) -> NewJob:
    return new_job(
        DeliverWebhook(event_id=event.id, endpoint_id=to.endpoint_id),
        tenant=event.tenant,
        now_us=event.created_at,
        max_attempts=to.max_attempts,
        timeout_s=to.timeout_s + MARGIN_S,
        lane=to.endpoint_id,
    )
