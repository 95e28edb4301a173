"""What the OpenAPI shows of replays: asked for in each way, counted, under way, cancelled."""

from typing import Any, Final

_ID: Final = "job_01m81s9f5a6w6a3b4ctbzkq2rm"
_EP, _EVT = "ep_01m81s9dnhe47s3tch4srt7qc0", "evt_01m81s9dnhe47s3tch4srt7qc1"
_SINCE: Final = "2026-01-31T12:00:00Z"

ASKED: Final[dict[str, Any]] = {
    "missing, counted": {
        "summary": "How much an endpoint has missed",
        "value": {"what": "missing", "endpoint_id": _EP, "since": _SINCE, "dry_run": True},
    },
    "missing": {
        "summary": "Send what it has missed, 20 a second",
        "value": {"what": "missing", "endpoint_id": _EP, "since": _SINCE, "rate_per_s": 20},
    },
    "failed": {
        "summary": "Send what has failed since an instant",
        "value": {"what": "failed", "endpoint_id": _EP, "since": _SINCE},
    },
    "event": {
        "summary": "One event, to every endpoint that wants it",
        "value": {"what": "event", "event_id": _EVT},
    },
    "event to one": {
        "summary": "One event, to one endpoint",
        "value": {"what": "event", "event_id": _EVT, "endpoint_id": _EP},
    },
}
_NOTHING: Final[dict[str, Any]] = {"deliveries": 0, "kinds": {}, "skipped": {}}
_SOME: Final[dict[str, Any]] = {
    "deliveries": 312, "kinds": {"before_endpoint": 12, "disabled": 300}, "skipped": {"pending": 2}
}  # fmt: skip
COUNTED: Final[dict[str, Any]] = {**_SOME, "dry_run": True, "looked_at": 314, "complete": True}
BEGUN: Final[dict[str, Any]] = {
    "id": _ID, "what": "missing", "endpoint_id": _EP, "event_id": None, "since": "2026-01-31T12:00:00.000000Z",
    "until": "2026-02-01T09:30:00.000000Z", "rate_per_s": 20.0, "state": "running", "progress": 0.0,
    "looked_at": 0, "sent": 0, **_NOTHING, "created_at": "2026-02-01T09:30:00.000000Z", "finished_at": None,
    "follow": f"/v1/jobs/{_ID}/events",
}  # fmt: skip
SHOWN: Final[dict[str, Any]] = {
    **BEGUN, **_SOME, "state": "completed", "progress": 1.0, "looked_at": 314, "sent": 312,
    "finished_at": "2026-02-01T09:30:15.710344Z",
}  # fmt: skip
CANCELLED: Final[dict[str, Any]] = {
    **BEGUN, "state": "cancelled", "finished_at": "2026-02-01T09:30:02.118306Z"
}  # fmt: skip
