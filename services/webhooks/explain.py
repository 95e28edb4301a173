"""Why an event was or was not delivered to an endpoint: one outcome in words, and everything it was concluded from.

Pure. The invariant: there is always an answer. What a delivery says of itself comes before what would have happened;
without one, the first condition that failed when the event came decides, judged by the terms of then if those are
known. Another tenant's event is told from one that never was in nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.webhooks.breaker import State
from services.webhooks.standing import Finding, Happening, Terms, judge, wants
from shared.kernel.clock import rfc3339

Row = Mapping[str, Any]
_DISABLED: Final = "EndpointDisabled"
_OUTCOMES: Final = {"completed": "delivered", "dead": "failed", "cancelled": "cancelled", "running": "running"}
_REASONS: Final = {
    "enabled": "endpoint_disabled",
    "type": "type_not_subscribed",
    "channels": "channel_not_subscribed",
    "filter": "filter_not_matching",
}
_BREAKER: Final = "the endpoint's circuit breaker"


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of it, the reason as one word, and in words."""

    outcome: str
    reason: str
    message: str


@dataclass(frozen=True)
class Facts:
    """What was found. `then` is None when nobody remembers; `deliveries` are documents, newest first."""

    event_id: str
    endpoint_id: str
    now_us: int
    keep_s: float
    endpoint: Row | None = None
    deleted_at: int | None = None
    event: Row | None = None
    happening: Happening | None = None
    then: Terms | None = None
    now: Terms | None = None
    deliveries: Sequence[Mapping[str, Any]] = ()
    waiting_for: str | None = None
    spreading: bool = False
    id_age_s: float | None = None


def explained(facts: Facts) -> dict[str, Any]:
    """The document of the HTTP API."""
    answer = _answer(facts)
    event, endpoint = facts.event, facts.endpoint
    return {
        "outcome": answer.outcome,
        "reason": answer.reason,
        "message": answer.message,
        "event": {
            "id": facts.event_id,
            "known": event is not None,
            "type": event["type"] if event else None,
            "created_at": rfc3339(event["created_at"]) if event else None,
            "erased_at": rfc3339(event["erased_at"]) if event else None,
        },
        "endpoint": {
            "id": facts.endpoint_id,
            "enabled": bool(endpoint["enabled"]) if endpoint else None,
            "disabled_reason": endpoint["disabled_reason"] if endpoint else None,
            "created_at": rfc3339(endpoint["created_at"]) if endpoint else None,
            "deleted_at": rfc3339(facts.deleted_at),
        },
        "checks": _checks(facts),
        "waiting_for": facts.waiting_for,
        "deliveries": list(facts.deliveries),
        "can_be_replayed": _can_be_replayed(facts),
    }


def _answer(facts: Facts) -> Answered:
    if facts.event is None:
        return _unknown(facts)
    if facts.deliveries:
        delivered = next((one for one in facts.deliveries if one["state"] == "completed"), None)
        moving = next((one for one in facts.deliveries if one["state"] not in ("completed", "dead", "cancelled")), None)
        return _of_delivery(facts, moving or delivered or facts.deliveries[0])
    if facts.endpoint is None:
        return Answered("not_delivered", "endpoint_deleted", "the endpoint has been deleted, and had no delivery of it")
    if facts.spreading:
        words = "the event is still being fanned out to its endpoints: this one has not been reached yet"
        return Answered("pending", "fanning_out", words)
    if facts.event["created_at"] < facts.endpoint["created_at"]:
        return Answered(
            "not_delivered",
            "endpoint_newer_than_event",
            f"the event was accepted at {rfc3339(facts.event['created_at'])}, before the endpoint was made at"
            f" {rfc3339(facts.endpoint['created_at'])}",
        )
    return _not_wanted(facts)


def _unknown(facts: Facts) -> Answered:
    if facts.id_age_s is not None and facts.id_age_s > facts.keep_s:
        days = facts.keep_s / 86_400
        words = f"the event is older than the {days:g} days that events are kept: it has been purged, if it was there"
        return Answered("expired", "event_expired", words)
    words = "no event of this id was accepted for this tenant, or it has been purged"
    return Answered("unknown_event", "unknown_event", words)


def _of_delivery(facts: Facts, one: Mapping[str, Any]) -> Answered:
    state, attempts, error = one["state"], one["attempts"], one["error"]
    outcome = _OUTCOMES.get(state, "pending")
    last = attempts[-1] if attempts else None
    if outcome == "delivered":
        status, at = (last["status"], last["finished_at"]) if last else (None, one["finished_at"])
        answered = f", answered with {status}" if status else ""
        return Answered(outcome, "delivered", f"it was delivered at {at}{answered}, in attempt {max(1, len(attempts))}")
    words = error["message"] if error else ""
    if outcome == "failed":
        kind = {"PayloadErased": "payload_expired", "EventMissing": "event_expired"}.get(error["type"], "exhausted")
        kind = "gone" if last and last["status"] == 410 else kind
        return Answered(outcome, kind, f"it has failed for good: {words}")
    if outcome == "cancelled":
        kinds = {_DISABLED: "endpoint_disabled", "EndpointDeleted": "endpoint_deleted"}
        kind = kinds.get(error["type"] if error else "", "cancelled")
        if facts.deleted_at is not None and kind == "cancelled":
            kind = "endpoint_deleted"
        return Answered(outcome, kind, f"its delivery was cancelled: {words or 'on request'}")
    if outcome == "running":
        return Answered(outcome, "running", "an attempt is under way")
    waiting = facts.waiting_for or "its turn"
    tried = f"; so far {len(attempts)} attempts failed, the last with {_told(last)}" if last else ""
    reason = "breaker_open" if waiting.startswith(_BREAKER) else state
    return Answered("pending", reason, f"it waits for {waiting}{tried}")


def _told(attempt: Mapping[str, Any]) -> str:
    if attempt["status"]:
        return str(attempt["status"])
    return str((attempt["error"] or {}).get("message") or attempt["outcome"])


def _not_wanted(facts: Facts) -> Answered:
    assert facts.happening is not None
    assert facts.now is not None
    judged = facts.then or facts.now
    known = "then" if facts.then is not None else "as it stands now: how it stood then is not known"
    for finding in judge(judged, facts.happening):
        if finding.holds is False:
            return Answered("not_delivered", _REASONS[finding.check], f"{finding.words} ({known})")
        if finding.holds is None:
            return Answered("not_delivered", "unknown", finding.words)
    if facts.now.enabled and wants(facts.now, facts.happening):
        words = "the endpoint wants it, and nothing was made for it: a replay of what is missing sends it"
        return Answered("not_delivered", "never_attempted", words)
    return Answered("not_delivered", "never_attempted", "nothing was made for it")


def _checks(facts: Facts) -> list[dict[str, Any]]:
    """Each condition as it was then, if that is known, and as it is now."""
    if facts.happening is None or facts.event is None:
        return []
    then = judge(facts.then, facts.happening) if facts.then is not None else None
    now = judge(facts.now, facts.happening) if facts.now is not None else None
    checks: list[dict[str, Any]] = []
    if facts.endpoint is not None:
        older = facts.endpoint["created_at"] <= facts.event["created_at"]
        words = f"the endpoint was made at {rfc3339(facts.endpoint['created_at'])}"
        checks.append({"check": "existed", "then": {"holds": older, "found": words}, "now": None})
    for index, name in enumerate(("enabled", "type", "channels", "filter")):
        checks.append({"check": name, "then": _shown(then, index), "now": _shown(now, index)})
    return checks


def _shown(findings: Sequence[Finding] | None, index: int) -> dict[str, Any] | None:
    return {"holds": findings[index].holds, "found": findings[index].words} if findings else None


def _can_be_replayed(facts: Facts) -> bool:
    """Whether sending it again would send something."""
    if facts.event is None or facts.endpoint is None or facts.event["erased_at"] is not None:
        return False
    waiting = any(one["state"] not in ("completed", "dead", "cancelled") for one in facts.deliveries)
    return bool(facts.endpoint["enabled"]) and not waiting


def waiting_for(job: Row, lane: Row | None, health: State | None, now_us: int) -> str | None:
    """What a delivery that has not ended waits for, in words; None for one that does not wait."""
    if job["state"] not in ("ready", "dispatched"):
        return None
    held = _held(lane, health, now_us)
    if held is not None:
        return held
    if job["waits_for"]:
        return f"{job['waits_for']} other jobs"
    if job["run_at"] > now_us:
        what = "its next attempt" if job["attempt"] else "its time"
        return f"{what} at {rfc3339(job['run_at'])}"
    return (
        "a worker, which has been told of it"
        if job["state"] == "dispatched"
        else "its turn: a worker, and room in the endpoint's lane"
    )


def _held(lane: Row | None, health: State | None, now_us: int) -> str | None:
    if health is not None and health.opened_at is not None:
        until = rfc3339(max(health.held_until, now_us))
        return f"{_BREAKER}, which is open: the next probe is at {until}"
    if lane is not None and lane["paused_at"] is not None:
        return "its lane, which is paused"
    if lane is not None and (lane["held_until"] or 0) > now_us:
        return f"its lane, which is held until {rfc3339(lane['held_until'])}"
    return None


def from_attempts(link: Row, facts: tuple[str, str, str], attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A delivery whose job is purged, from what is kept longer. Without attempts all that is known is that it ended."""
    event_id, endpoint_id, event_type = facts
    last = attempts[-1] if attempts else None
    states = {"completed": "completed", "dead": "dead"}
    state = states.get(last["outcome"], "cancelled") if last else "completed"
    return {
        "id": link["job_id"],
        "event_id": event_id,
        "event_type": event_type,
        "endpoint_id": endpoint_id,
        "state": state,
        "attempt": len(attempts),
        "max_attempts": None,
        "next_attempt_at": None,
        "created_at": None,
        "finished_at": last["finished_at"] if last else None,
        "error": last["error"] if last else None,
        "attempts": list(attempts),
    }
