"""What the OpenAPI shows of events and deliveries: one order that was paid, and a receiver that was not well."""

from typing import Any, Final

_EVENT: Final = "evt_01m81s9dnhe47s3tch4srt7qc0"
_ENDPOINT: Final = "ep_01m81s9dese3ksgafskmq7x1bp"
_ERROR: Final = {"type": "DeliveryFailed", "message": "503 Service Unavailable"}
_CAME: Final = "2026-11-22T10:00:00.000000Z"
_SENT, _ENDED = "2026-11-22T10:00:00.041200Z", "2026-11-22T10:00:00.102400Z"
_BODY: Final[dict[str, Any]] = {"type": "order.paid", "timestamp": _CAME, "data": {"id": "o_1", "amount": 4200}}

EVENT: Final[dict[str, Any]] = {
    "id": _EVENT, **_BODY, "ordering_key": "o_1", "channels": ["shop-7"], "created_at": _CAME, "erased_at": None,
    "deliveries": 2, "states": {"completed": 1, "ready": 1}, "fan_out": None,
}  # fmt: skip
LINE: Final[dict[str, Any]] = {
    "id": "job_01m81s9dnhe47s3tch4srt7qd1", "event_id": _EVENT, "event_type": "order.paid",
    "endpoint_id": _ENDPOINT, "state": "retrying", "attempt": 1, "max_attempts": 10,
    "next_attempt_at": "2026-11-22T10:00:05.304800Z", "created_at": _CAME, "finished_at": None, "error": _ERROR,
}  # fmt: skip
DELIVERY: Final[dict[str, Any]] = {
    **LINE,
    "attempts": [
        {
            "number": 1, "started_at": _SENT, "finished_at": _ENDED, "outcome": "failed",
            "url": "https://example.com/hooks", "status": 503, "latency_ms": 61.2,
            "headers": {"Content-Type": "text/plain; charset=utf-8"}, "body": "busy", "body_truncated": False,
            "network_error": None, "error": _ERROR,
        },
    ],
}  # fmt: skip
AGAIN: Final[dict[str, Any]] = {
    "id": "job_01m81s9f5a6w6a3b4ctbzkq2rm", "state": "queued", "replay_of": "job_01m81s9dnhe47s3tch4srt7qd1"
}  # fmt: skip
POLLED: Final[dict[str, Any]] = {
    "items": [
        {
            "id": _EVENT, "type": "order.paid", "sequence": 41, "delivery_id": LINE["id"], "state": "retrying",
            "created_at": _CAME, "erased_at": None, "payload": {**_BODY, "sequence": 41},
        },
    ],
    "next_cursor": None,
    "after": "41",
    "sequence": {"first": 1, "last": 41},
}  # fmt: skip

_MATCH: Final = {"holds": True, "found": "order.paid matches order.*"}
EXPLAINED: Final[dict[str, Any]] = {
    "outcome": "not_delivered",
    "reason": "type_not_subscribed",
    "message": "none of media.*, user.created matches order.paid (then)",
    "event": {"id": _EVENT, "known": True, "type": "order.paid", "created_at": _CAME, "erased_at": None},
    "endpoint": {
        "id": _ENDPOINT, "enabled": True, "disabled_reason": None, "created_at": "2026-11-20T08:12:44.118306Z",
        "deleted_at": None,
    },
    "checks": [
        {
            "check": "existed", "now": None,
            "then": {"holds": True, "found": "the endpoint was made at 2026-11-20T08:12:44.118306Z"},
        },
        {
            "check": "type", "now": _MATCH,
            "then": {"holds": False, "found": "none of media.*, user.created matches order.paid"},
        },
    ],
    "waiting_for": None,
    "deliveries": [],
    "can_be_replayed": True,
}  # fmt: skip
KEEP: Final[dict[str, Any]] = {
    "a day": {"summary": "Erase payloads a day after they came", "value": {"payload_keep_s": 86_400}},
    "as events": {"summary": "Keep them as long as events", "value": {"payload_keep_s": None}},
}
KEPT: Final[dict[str, Any]] = {"payload_keep_s": 86_400, "events_keep_s": 1_209_600.0, "updated_at": _CAME}
