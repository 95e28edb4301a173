"""What follows from one attempt's answer: how the delivery goes on, what is known of its endpoint, and who is told.

What people are told of an attempt commits with its end, and so does the switch that a receiver turns. Everything else
about an endpoint's health is written in groups before the attempt ends, so that a lane that is held is held when the
next delivery of it could start. Refuses nothing: every answer ends the attempt in one of these ways.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.webhooks import operational
from services.webhooks.answers import Answer, classify, control_of
from services.webhooks.breaker import Seen
from services.webhooks.delivery import (
    DeliveryAborted,
    EgressForbidden,
    EndpointGone,
    failure,
    reason_of,
    switched_off,
)
from services.webhooks.desk import Desk
from services.webhooks.events import Subscription
from services.webhooks.health import Sight
from services.webhooks.operational import Listeners, Report
from services.webhooks.patterns import ATTEMPT_FAILING, EXHAUSTED, OPERATIONAL
from services.webhooks.store_endpoints import disable_gone
from services.webhooks.targets import Target
from shared.db.failures import is_transient
from shared.db.tx import Tx
from shared.kernel.clock import SECOND_US, after_us
from shared.kernel.logs import get_logger
from shared.transport.attempt import Attempt, Dead, Retry, Stale

FIRST_WAIT_S: Final = 0.05
PATIENCE_S: Final = 6.0  # an attempt has 15 s beside its request
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt of one delivery, with what it needs to be concluded."""

    attempt: Attempt
    desk: Desk
    target: Target
    event_id: str
    event_type: str

    @property
    def quiet(self) -> bool:
        return self.event_type in OPERATIONAL


async def conclude(this: Try, answer: Answer) -> dict[str, int | None] | None:
    """The delivery's result; raises what ends the attempt otherwise, unless it has been ended already."""
    outcome, control = classify(answer, now_s=this.attempt.started_at / SECOND_US), control_of(answer)
    if outcome.kind == "gone" or control == "disable":
        return await _switch_off(this, answer, delivered=outcome.kind == "success")
    if outcome.kind == "success":
        await this.desk.health.succeeded(this.target, this.attempt.started_at)
        return {"status": answer.status}
    number, last = this.attempt.number, this.attempt.is_last
    if control == "abort":
        words = f"the receiver answered {reason_of(answer)} with webhook-delivery: abort"
        await fail(this, DeliveryAborted(words, kind="aborted"), counts=False)
        return None
    target = await _scheduled(this)
    failed = failure(target, answer, this.desk.policy, attempt=number, last=last, wish_s=outcome.retry_after_s)
    counts = not isinstance(failed, EgressForbidden)  # nothing was sent, so nothing is known of the receiver
    await fail(this, failed, counts=counts, throttled=outcome.kind == "throttled")
    return None


async def fail(this: Try, failed: Retry | Dead, *, counts: bool, throttled: bool = False) -> None:
    """Raises `failed`, unless somebody is told: then the attempt has ended with it. `counts`: against its endpoint."""
    tenant, health, target, why = this.attempt.tenant, this.desk.health, this.target, str(failed)
    told = isinstance(failed, Dead) or this.attempt.number >= operational.FAILING_AT
    started_at, quiet = this.attempt.started_at, this.quiet
    wanted = _types(this, failed)
    found = await _listeners(this, wanted, also_health=counts) if wanted else {}
    types = [each for each in wanted if found.get((tenant, each))]
    if not types:
        if counts:
            await health.failed(target, started_at, why, throttled=throttled, told=told, quiet=quiet)
        raise failed
    seen = health.sight(target, started_at, why, throttled=throttled, told=told) if counts else None

    async def write(tx: Tx) -> None:
        reports = await health.write(tx, [Sight(target, seen, quiet)]) if seen is not None else []
        next_at = after_us(tx.now_us, failed.after_s) if isinstance(failed, Retry) else None
        await operational.tell(tx, [*reports, *_of_delivery(this, types, why, next_at)], found)

    if not await _ended(this, failed, write):
        if seen is not None:
            health.give_back(target, seen)
        raise failed


async def _switch_off(this: Try, answer: Answer, *, delivered: bool) -> dict[str, int | None] | None:
    attempt, target, why = this.attempt, this.target, switched_off(answer)
    gone = EndpointGone(why, kind="gone")
    found = await _listeners(this, [] if delivered else _types(this, gone), also_health=True)
    types = [] if delivered else [each for each in _types(this, gone) if found.get((attempt.tenant, each))]
    attempt.result = {"status": answer.status} if delivered else None

    async def write(tx: Tx) -> None:
        reports = []
        if await disable_gone(tx, target.id, target.tenant, target.url, why):
            tx.after_commit(lambda: this.desk.changed(target.tenant, target.id))
            seen = Seen("failed", attempt.started_at, tx.now_us, why, told=True)
            reports = await this.desk.health.write(tx, [Sight(target, seen, this.quiet)])
            if not this.quiet:
                trigger = "gone" if answer.status == 410 else "receiver"
                reports.append(
                    operational.disabled(target.tenant, target.id, tx.now_us, url=target.url, why=why, trigger=trigger)
                )
        await operational.tell(tx, [*reports, *_of_delivery(this, types, why, None)], found)

    if await _ended(this, None if delivered else gone, write):
        return None
    if delivered:
        return {"status": answer.status}
    raise gone


async def _ended(this: Try, failing: Retry | Dead | None, write: Callable[[Tx], Awaitable[None]]) -> bool:
    """Whether the attempt has ended with what `write` writes. If not, it is to end without that.

    A lock or a connection that was lost is no reason to tell nobody: it is tried again, as long as an attempt has time.
    A commit that nobody answered for is safe either way, because an end counts once. Raises Stale.
    """
    delay_s = FIRST_WAIT_S
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    async with this.attempt.tx(failing=failing) as tx:
                        await write(tx)
                except Exception as error:
                    if not is_transient(error):
                        raise
                    log.info("conclusion_retry", job=this.attempt.job_id, error=repr(error))
                else:
                    return True
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                delay_s = min(delay_s * 2, 1.0)
    except Stale:
        raise
    except Exception as error:  # what the answer means for the delivery stands all the same
        log.warning("conclusion_untold", job=this.attempt.job_id, endpoint=this.target.id, error=repr(error))
        return this.attempt.ended


def _types(this: Try, failed: Retry | Dead) -> list[str]:
    """What people may want to hear of this failure."""
    if this.quiet:
        return []
    types = [ATTEMPT_FAILING] if this.attempt.number == operational.FAILING_AT else []
    return [*types, EXHAUSTED] if isinstance(failed, Dead) else types


async def _listeners(this: Try, types: Sequence[str], *, also_health: bool) -> Listeners:
    """To whom `types` are to be told, and what follows from them for the endpoint; nobody, if nobody can say who."""
    tenant = this.attempt.tenant
    try:
        found: dict[tuple[str, str], Sequence[Subscription]] = {
            (tenant, each): await this.desk.subscribed(tenant, each) for each in types
        }
        if also_health and not this.quiet:
            found |= await this.desk.health.listeners([tenant])
    except Exception as error:
        if not is_transient(error):
            raise
        log.warning("conclusion_untold", job=this.attempt.job_id, endpoint=this.target.id, error=repr(error))
        return {}
    return found


def _of_delivery(this: Try, types: Sequence[str], why: str, next_at: int | None) -> list[Report]:
    attempt = this.attempt
    data = operational.delivery_data(attempt.claim, this.event_id, this.event_type, this.target.id, attempt.detail, why)
    return [operational.of_delivery(attempt.tenant, each, data, next_at) for each in types]


async def _scheduled(this: Try) -> Target:
    """With the schedule of the event's type, where the endpoint has none of its own."""
    if this.target.own_retry:
        return this.target
    found = await this.desk.type_retry(this.attempt.tenant, this.event_type)
    return this.target if found is None else replace(this.target, retry=found)
