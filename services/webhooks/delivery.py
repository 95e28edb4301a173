"""What one attempt's answer means for its delivery: done, again later, or never again, and in which words.

Pure. Each way to end is a class of its own and names the kind of its failure (`http_503`, `timeout`, …), so that dead
letters group by what went wrong. An address that is
refused for what it is ends at once, because no retry changes it; one that a name happened to resolve to is retried,
because names change.
"""

from http import HTTPStatus
from typing import Any, Final

import orjson

from services.webhooks.answers import Answer
from services.webhooks.destinations import KINDS
from services.webhooks.retry import next_delay_s
from services.webhooks.store_events import Sent
from services.webhooks.targets import Target
from shared.kernel.clock import SECOND_US
from shared.runtime.addresses import AddressPolicy, EgressRefused, check_url
from shared.transport.attempt import Dead, Discard, Postpone, Retry

BODY_JSON_BYTES: Final = 40_000
"""A body of control characters grows six-fold as JSON, and a detail past its bound would not be kept at all."""
_BODY_SAFE_CHARS: Final = BODY_JSON_BYTES // 6

DELETED: Final = "the endpoint has been deleted"


class DeliveryFailed(Retry):
    """One attempt failed, and another one follows."""


class DeliveryExhausted(Dead):
    """The schedule has ended."""


class EgressForbidden(Dead):
    """The endpoint's URL names an address that nothing is sent to."""


class DeliveryAborted(Dead):
    """The receiver has asked not to be sent this again."""


class EndpointGone(Dead):
    """The receiver has asked not to be sent anything again."""


class CircuitOpen(Postpone):
    """The endpoint keeps failing: nothing is sent before the next probe, and no attempt is spent."""


class EventMissing(Dead):
    """The event is not there any more."""


class PayloadErased(Dead):
    """The tenant keeps payloads for a shorter time than this delivery has waited."""


class EndpointDeleted(Discard):
    """Nobody waits for this delivery any more."""


class EndpointDisabled(Discard):
    """Switched off since the event was accepted."""


def usable(target: Target | None, tenant: str) -> Target:
    """Raises EndpointDeleted, EndpointDisabled."""
    if target is None or target.tenant != tenant:
        raise EndpointDeleted(DELETED)
    if not target.enabled:
        raise EndpointDisabled(f"the endpoint is disabled: {target.disabled_reason or 'no reason given'}")
    return target


def check_circuit(target: Target, now_us: int) -> None:
    """For what was dispatched before the relay heard of it. Raises CircuitOpen."""
    if target.health.held_until > now_us:
        wait_s = (target.health.held_until - now_us) / SECOND_US
        raise CircuitOpen(wait_s, "the endpoint keeps failing: its circuit is open")


def present(sent: Sent | None, event_id: str, tenant: str) -> bytes:
    """The body. Raises PayloadErased, and EventMissing also for another tenant's: a job's arguments can be edited."""
    if sent is None or sent.tenant != tenant:
        raise EventMissing(f"the event {event_id} is not there any more")
    if not sent.body:
        raise PayloadErased(f"the payload of {event_id} was erased: its tenant keeps payloads for a shorter time")
    return sent.body


def failure(
    target: Target, answer: Answer, policy: AddressPolicy, *, attempt: int, last: bool, wish_s: float | None
) -> Retry | Dead:
    """What a handler raises for an answer that is no success."""
    reason = reason_of(answer)
    if answer.error == "egress" and _refused_for_itself(KINDS[target.kind].judged(target), policy):
        return EgressForbidden(reason)
    kind = str(answer.error) if answer.status is None else f"http_{answer.status}"
    return again(target, reason, kind=kind, attempt=attempt, last=last, wish_s=wish_s)


def again(
    target: Target, reason: str, *, kind: str, attempt: int, last: bool, wish_s: float | None = None
) -> Retry | Dead:
    """The retry that the endpoint's schedule foresees, or its end. `last`: the ledger allows no other attempt."""
    delay_s = None if last else next_delay_s(target.retry, attempt, wish_s)
    if delay_s is None:
        return DeliveryExhausted(f"{reason} after {attempt} attempt{'s' if attempt > 1 else ''}", kind=kind)
    return DeliveryFailed(delay_s, reason)


def switched_off(answer: Answer) -> str:
    """Why the endpoint is disabled, in the words of people."""
    if answer.status == 410:
        return f"the receiver answered {reason_of(answer)}"
    return f"the receiver answered {reason_of(answer)} with webhook-delivery: disable"


def reason_of(answer: Answer) -> str:
    """`502 Bad Gateway`, or `timeout: …` when no status line came."""
    if answer.status is None:
        return f"{answer.error}: {answer.message}" if answer.message else str(answer.error)
    try:
        return f"{answer.status} {HTTPStatus(answer.status).phrase}"
    except ValueError:
        return str(answer.status)


def detail_of(url: str, answer: Answer) -> dict[str, Any]:
    """What is kept with the attempt: JSON well below the ledger's bound."""
    body, truncated = answer.body, answer.body_truncated
    if len(body) > _BODY_SAFE_CHARS and len(orjson.dumps(body)) > BODY_JSON_BYTES:
        body, truncated = body[:_BODY_SAFE_CHARS], True
    headers: dict[str, str] = {}
    for key, value in answer.headers:
        name = str(key)  # aiohttp's own kind of string, which orjson takes for no key
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    detail: dict[str, Any] = {
        "url": url,
        "status": answer.status,
        "latency_ms": round(answer.latency_ms, 3),
        "headers": headers,
        "body": body,
        "body_truncated": truncated,
    }
    if answer.error is not None:
        detail["error"] = {"kind": answer.error, "message": answer.message}
    return detail


def _refused_for_itself(url: str, policy: AddressPolicy) -> bool:
    try:
        parsed = check_url(url, policy)
    except EgressRefused:
        return True
    return parsed.address is not None
