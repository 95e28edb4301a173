"""What the service itself tells a tenant about its webhooks: four types of events, delivered like any other.

The invariants: they are accepted in the transaction with what they report, so one is never without the other; an
attempt to deliver one of them raises none, so they cannot feed themselves; nobody else may publish their types.
Only who subscribes to them by name, or to `endpoint.*` or `delivery.*`, gets them: `*` is for the tenant's own events.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from services.webhooks.events import NewEvent, Subscription
from services.webhooks.patterns import ATTEMPT_FAILING, ENDPOINT_DISABLED, ENDPOINT_RECOVERED
from services.webhooks.payload import encode_body
from services.webhooks.publishing import merged, plan_any, write
from shared.db.tx import Tx
from shared.kernel.clock import rfc3339
from shared.kernel.ids import new_id
from shared.ledger.states import Claim

FAILING_AT: Final = 4
"""The failed attempt of a delivery that is told of: by then it is no blip, and most of the schedule is to come."""
_BEGIN: Final = re.compile(rb'\{"type":"([A-Za-z0-9_.-]+)"')  # as `payload.encode_body` writes it


Listeners = Mapping[tuple[str, str], Sequence[Subscription]]
"""Of each tenant and type, the endpoints whose types it is one of."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an operational event will say. `skip`: the endpoint that hears of nothing any more.

    `event_id`: the event's, where it must not be told twice.
    """

    tenant: str
    type: str
    data: Mapping[str, Any]
    skip: str | None = None
    event_id: str | None = None


def type_of(body: bytes) -> str:
    """The type of the event whose body this is."""
    found = _BEGIN.match(body)
    return found[1].decode() if found else str(orjson.loads(body)["type"])


def delivery_data(
    claim: Claim, event_id: str, event_type: str, endpoint_id: str, answer: Mapping[str, Any] | None, why: str
) -> dict[str, Any]:
    """What people are told of a delivery whose attempt has just failed; `answer` is the attempt's detail."""
    return {
        "delivery_id": claim.id,
        "event_id": event_id,
        "event_type": event_type,
        "endpoint_id": endpoint_id,
        "attempt": claim.attempt + 1,
        "max_attempts": claim.max_attempts,
        "status": answer.get("status") if answer else None,
        "reason": why,
    }


def disabled(tenant: str, endpoint_id: str, now_us: int, *, url: str, why: str, trigger: str) -> Report:
    """`trigger`: `gone` (410), `receiver` (its header), `failing` (nothing else for too long)."""
    data = {"endpoint_id": endpoint_id, "url": url, "reason": why, "trigger": trigger}
    return Report(tenant, ENDPOINT_DISABLED, {**data, "disabled_at": rfc3339(now_us)}, skip=endpoint_id)


def recovered(tenant: str, endpoint_id: str, now_us: int, *, failing_since: int | None, failures: int) -> Report:
    data = {"endpoint_id": endpoint_id, "failing_since": rfc3339(failing_since), "failures": failures}
    return Report(tenant, ENDPOINT_RECOVERED, {**data, "recovered_at": rfc3339(now_us)})


def of_delivery(tenant: str, event_type: str, data: Mapping[str, Any], next_at: int | None) -> Report:
    """`data` is `delivery_data`'s."""
    data = {**data, "next_attempt_at": rfc3339(next_at)} if event_type == ATTEMPT_FAILING else data
    return Report(tenant, event_type, data)


async def tell(tx: Tx, reports: Sequence[Report], listeners: Listeners) -> None:
    """Everything that this transaction has to tell, and nothing more after it: numbers are given in one go, and so
    the rows that give them are locked in one order by all.

    `listeners` were found before the transaction: not each attempt to an endpoint that fails should look for them in
    it.
    """
    if not reports:
        return
    planned = []
    for report in reports:
        event = _event(tx, report)
        known = listeners.get((report.tenant, report.type), ())
        told = [one for one in known if one.endpoint_id != report.skip and one.takes(event)]
        planned.append(plan_any(event, told)[0])
    await write(tx, merged(planned))


def _event(tx: Tx, report: Report) -> NewEvent:
    at = str(rfc3339(tx.now_us))
    body = encode_body(report.type, at, report.data, ours=True)
    facts = {"type": report.type, "timestamp": at, "data": report.data}
    return NewEvent(report.event_id or new_id("evt"), report.tenant, report.type, body, tx.now_us, facts=facts)
