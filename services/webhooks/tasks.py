"""The handlers of the webhooks service, and TASKS, which binds them to their commands."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from services.webhooks import aftermath
from services.webhooks.conclusion import Try, conclude, fail
from services.webhooks.delivery import again, check_circuit, detail_of, present, usable
from services.webhooks.deps import TheirDesk, TheirResources, TheirSettings, ThisAttempt
from services.webhooks.fanout import fan_out
from services.webhooks.keeping import erase
from services.webhooks.onboarding import probe_endpoint
from services.webhooks.operational import type_of
from services.webhooks.publishing import MARGIN_S, event_of, publish
from services.webhooks.removal import forget
from services.webhooks.replaying import work
from services.webhooks.reseal import reseal
from services.webhooks.store_events import event_tenant
from services.webhooks.store_keeping import came_late
from services.webhooks.upkeep import purge
from shared.contracts.command import Command
from shared.contracts.commands.webhooks import (
    DeliverWebhook,
    ErasePayloads,
    FanOutEvent,
    ForgetEndpoint,
    ProbeEndpoint,
    PublishEvent,
    PurgeEvents,
    ReplayEvents,
    ResealSecrets,
    TellOfDead,
)
from shared.kernel.errors import BadInput, TooLarge
from shared.transport.attempt import Dead


async def publish_event(command: PublishEvent, attempt: ThisAttempt, desk: TheirDesk) -> None:
    try:
        event = event_of(command, attempt.tenant, attempt.started_at)
        known = await desk.catalogue.check(attempt.tenant, event.type, command.data)
        event = replace(event, attempts=known.attempts if known is not None else None)
    except (BadInput, TooLarge) as wrong:
        raise Dead(wrong.message) from None
    async with attempt.tx() as tx:
        deliveries = await publish(tx, event)
        if deliveries is None and await event_tenant(tx, event.id) != event.tenant:
            raise Dead(f"{event.id} is an event of another tenant")
        await came_late(tx, event.tenant, event.id)
        attempt.result = {"event": event.id, "deliveries": deliveries, "repeated": deliveries is None}


async def deliver(command: DeliverWebhook, attempt: ThisAttempt, desk: TheirDesk) -> dict[str, Any] | None:
    target = usable(await desk.targets.get(command.endpoint_id), attempt.tenant)
    if attempt.claim.lane is not None:
        check_circuit(target, attempt.started_at)
    body = present(await desk.bodies.get(command.event_id), command.event_id, attempt.tenant)
    this = Try(attempt, desk, target, command.event_id, type_of(body))
    if target.fault is not None:
        failed = again(target, target.fault, kind="fault", attempt=attempt.number, last=attempt.is_last)
        await fail(this, failed, counts=False)
        return None
    limit_s = min(target.timeout_s, max(attempt.claim.timeout_s - MARGIN_S, 1.0))
    body = await desk.numbered(target, command.event_id, body)
    answer = await desk.send(target, command.event_id, body, timeout_s=limit_s)
    attempt.detail = detail_of(target.url, answer)
    return await conclude(this, answer)


async def fan_out_event(command: FanOutEvent, attempt: ThisAttempt, desk: TheirDesk, resources: TheirResources) -> None:
    await fan_out(command.event_id, attempt, desk, resources)


async def purge_events(
    command: PurgeEvents, attempt: ThisAttempt, resources: TheirResources, settings: TheirSettings
) -> None:
    await purge(attempt, resources, settings, command)


async def reseal_secrets(
    command: ResealSecrets, attempt: ThisAttempt, resources: TheirResources, desk: TheirDesk
) -> None:
    await reseal(attempt, resources, desk.box, command)


async def forget_endpoint(command: ForgetEndpoint, attempt: ThisAttempt, resources: TheirResources) -> dict[str, int]:
    return await forget(attempt, resources, command.endpoint_id)


async def replay_events(command: ReplayEvents, attempt: ThisAttempt, resources: TheirResources) -> None:  # noqa: ARG001
    await work(attempt, resources)


async def erase_payloads(
    command: ErasePayloads,  # noqa: ARG001
    attempt: ThisAttempt,
    resources: TheirResources,
    settings: TheirSettings,
) -> dict[str, int]:
    return {"erased": await erase(attempt, resources, batch=settings.purge_batch)}


async def tell_of_dead(command: TellOfDead, resources: TheirResources, desk: TheirDesk) -> dict[str, int]:
    since_us = aftermath.since(resources.database.clock.now_us(), command.hours)
    return {"deliveries": await aftermath.tell_of_dead(resources, desk, since_us)}


TASKS: dict[type[Command], Callable[..., Any]] = {
    PublishEvent: publish_event,
    DeliverWebhook: deliver,
    ProbeEndpoint: probe_endpoint,
    FanOutEvent: fan_out_event,
    PurgeEvents: purge_events,
    ResealSecrets: reseal_secrets,
    ForgetEndpoint: forget_endpoint,
    ReplayEvents: replay_events,
    ErasePayloads: erase_payloads,
    TellOfDead: tell_of_dead,
}
