"""How endpoints, events and deliveries are shown, pure: from rows to the documents of the HTTP API, RFC 3339 UTC."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.webhooks.models import Endpoint
from shared.kernel.clock import rfc3339
from shared.ledger.states import shown_state

Row = Mapping[str, Any]


def endpoint_document(endpoint: Endpoint, now_us: int, header_names: Sequence[str] | None) -> dict[str, Any]:
    """Without its secret: that is shown when it is made, and never again."""
    overlap = endpoint.previous_until if (endpoint.previous_until or 0) > now_us else None
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "description": endpoint.description,
        "event_types": orjson.loads(endpoint.event_types),
        "retry_schedule_s": orjson.loads(endpoint.retry_schedule_s) if endpoint.retry_schedule_s else None,
        "timeout_s": endpoint.timeout_s,
        "header_names": header_names,
        "metadata": orjson.loads(endpoint.meta),
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "version": endpoint.version,
        "previous_secret_until": rfc3339(overlap),
        "created_at": rfc3339(endpoint.created_at),
        "updated_at": rfc3339(endpoint.updated_at),
    }


def event_document(row: Row) -> dict[str, Any]:
    """`deliveries` counts them all, `states` by the ledger's word for where each is."""
    body = orjson.loads(row["body"])
    return {
        "id": row["id"],
        "type": row["type"],
        "timestamp": body["timestamp"],
        "data": body["data"],
        "ordering_key": row["ordering_key"],
        "created_at": rfc3339(row["created_at"]),
        "deliveries": sum(row["states"].values()),
        "states": row["states"],
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
