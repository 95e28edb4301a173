"""The handlers of the webhooks service, and TASKS, which binds them to their commands."""

from collections.abc import Callable
from typing import Any

from services.webhooks.answers import classify
from services.webhooks.delivery import EventMissing, again, detail_of, failure, reason_of, usable
from services.webhooks.deps import TheirDesk, TheirResources, TheirSettings, ThisAttempt
from services.webhooks.publishing import MARGIN_S, event_of, publish
from services.webhooks.store_endpoints import disable_gone
from services.webhooks.store_events import event_tenant
from services.webhooks.upkeep import purge
from shared.contracts.command import Command
from shared.contracts.commands.webhooks import DeliverWebhook, PublishEvent, PurgeEvents
from shared.kernel.clock import SECOND_US
from shared.kernel.errors import BadInput, TooLarge
from shared.transport.attempt import Dead


async def publish_event(command: PublishEvent, attempt: ThisAttempt) -> None:
    try:
        event = event_of(command, attempt.tenant, attempt.started_at)
    except (BadInput, TooLarge) as wrong:
        raise Dead(wrong.message) from None
    async with attempt.tx() as tx:
        deliveries = await publish(tx, event)
        if deliveries is None and await event_tenant(tx, event.id) != event.tenant:
            raise Dead(f"{event.id} is an event of another tenant")
        attempt.result = {"event": event.id, "deliveries": deliveries, "repeated": deliveries is None}


async def deliver(command: DeliverWebhook, attempt: ThisAttempt, desk: TheirDesk) -> dict[str, Any] | None:
    target = usable(await desk.targets.get(command.endpoint_id), attempt.tenant)
    body = await desk.bodies.get(command.event_id)
    if body is None:
        raise EventMissing(f"the event {command.event_id} is not there any more")
    if target.fault is not None:
        raise again(target, target.fault, kind="fault", attempt=attempt.number, last=attempt.is_last)
    limit_s = min(target.timeout_s, max(attempt.claim.timeout_s - MARGIN_S, 1.0))
    answer = await desk.send(target, command.event_id, body, timeout_s=limit_s)
    attempt.detail = detail_of(target.url, answer)
    outcome = classify(answer, now_s=attempt.started_at / SECOND_US)
    if outcome.kind == "success":
        return {"status": answer.status}
    if outcome.kind == "gone":
        reason = f"the receiver answered {reason_of(answer)}"
        async with attempt.tx(dead=reason) as tx:
            await disable_gone(tx, target.id, target.tenant, target.url, reason)
            tx.after_commit(lambda: desk.changed(target.tenant, target.id))
        return None
    raise failure(
        target, answer, desk.policy, attempt=attempt.number, last=attempt.is_last, wish_s=outcome.retry_after_s
    )


async def purge_events(
    command: PurgeEvents, attempt: ThisAttempt, resources: TheirResources, settings: TheirSettings
) -> None:
    await purge(attempt, resources, settings, command)


TASKS: dict[type[Command], Callable[..., Any]] = {
    PublishEvent: publish_event,
    DeliverWebhook: deliver,
    PurgeEvents: purge_events,
}
