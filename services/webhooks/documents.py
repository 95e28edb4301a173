"""How endpoints, events and deliveries are shown, pure: from rows to the documents of the HTTP API, RFC 3339 UTC."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.webhooks.breaker import State
from services.webhooks.keyring import signing_document
from services.webhooks.models import Endpoint
from services.webhooks.store_fanout import shown
from shared.kernel.clock import SECOND_US, rfc3339
from shared.ledger.states import shown_state

Row = Mapping[str, Any]


def endpoint_document(endpoint: Endpoint, now_us: int, header_names: Sequence[str] | None) -> dict[str, Any]:
    """Without its secrets: those are shown when they are made, and never again."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "description": endpoint.description,
        "event_types": orjson.loads(endpoint.event_types),
        "retry_schedule_s": orjson.loads(endpoint.retry_schedule_s) if endpoint.retry_schedule_s else None,
        "timeout_s": endpoint.timeout_s,
        "header_names": header_names,
        "metadata": orjson.loads(endpoint.meta),
        "sequence": endpoint.sequence,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "version": endpoint.version,
        **signing_document(endpoint, now_us),
        "created_at": rfc3339(endpoint.created_at),
        "updated_at": rfc3339(endpoint.updated_at),
    }


def health_document(state: State, now_us: int, disable_after_s: float) -> dict[str, Any]:
    """How the endpoint has been doing; `concurrency_ceiling` null: as many attempts at once as its limit allows."""
    since = state.failing_since
    disables_at = since + round(disable_after_s * SECOND_US) if since is not None and disable_after_s else None
    return {
        "circuit": state.circuit(now_us),
        "opened_at": rfc3339(state.opened_at),
        "probe_at": rfc3339(state.held_until) if state.opened_at is not None else None,
        "failing_since": rfc3339(since),
        "failures_in_a_row": state.failures,
        "last_failure": state.last_failure,
        "disables_at": rfc3339(disables_at),
        "concurrency_ceiling": state.at_once,
    }


def event_document(row: Row) -> dict[str, Any]:
    """`deliveries` counts them all, `states` by the ledger's word for where each is. An erased one has no data."""
    body = json.loads(row["body"] or '{"timestamp":null,"data":null}')  # orjson rounds integers above 64 bits
    return {
        "id": row["id"],
        "type": row["type"],
        "timestamp": body["timestamp"],
        "data": body["data"],
        "ordering_key": row["ordering_key"],
        "channels": orjson.loads(row["channels"]) if row["channels"] else [],
        "created_at": rfc3339(row["created_at"]),
        "erased_at": rfc3339(row["erased_at"]),
        "deliveries": sum(row["states"].values()),
        "states": row["states"],
        "fan_out": shown(row["fan_out"]),
    }


def delivery_line(row: Row, now_us: int) -> dict[str, Any]:
    """One line of a list. `next_attempt_at` while one is to come."""
    waiting = row["state"] in ("ready", "dispatched")
    return {
        "id": row["id"],
        "event_id": row["event_id"],
        "event_type": row["event_type"],
        "endpoint_id": row["endpoint_id"],
        "state": shown_state(row["state"], row["run_at"], row["attempt"], now_us),
        "attempt": row["attempt"],
        "max_attempts": row["max_attempts"],
        "next_attempt_at": rfc3339(row["run_at"]) if waiting else None,
        "created_at": rfc3339(row["created_at"]),
        "finished_at": rfc3339(row["finished_at"]),
        "error": _error(row),
    }


def delivery_document(row: Row, attempts: Sequence[Row], now_us: int) -> dict[str, Any]:
    return {**delivery_line(row, now_us), "attempts": [attempt_document(attempt) for attempt in attempts]}


def attempt_document(row: Row) -> dict[str, Any]:
    """What was sent where, and what came back; only what ended without an answer has no `status`."""
    detail = orjson.loads(row["detail"]) if row["detail"] else {}
    return {
        "number": row["number"],
        "started_at": rfc3339(row["started_at"]),
        "finished_at": rfc3339(row["finished_at"]),
        "outcome": row["outcome"],
        "url": detail.get("url"),
        "status": detail.get("status"),
        "latency_ms": detail.get("latency_ms"),
        "headers": detail.get("headers", {}),
        "body": detail.get("body"),
        "body_truncated": detail.get("body_truncated", False),
        "network_error": detail.get("error"),
        "error": _error(row),
    }


def _error(row: Row) -> dict[str, Any] | None:
    return {"type": row["error_type"], "message": row["error_message"]} if row["error_type"] else None
