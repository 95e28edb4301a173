"""What the documentation of the HTTP API shows of tests and challenges: one request, one result in full."""

from typing import Any, Final

from shared.runtime.examples import example

_EVENT: Final = "evt_01m81s9dnhe47s3tch4srt7qc0"
_JOB: Final = "job_01m81s9dnhe47s3tch4srt7qd1"
_BODY: Final = '{"type":"order.paid","timestamp":"2026-11-22T10:00:00.000000Z","data":{"id":7}}'
_SIGNATURE: Final = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="
RESULT: Final[dict[str, Any]] = {
    "id": _JOB,
    "state": "completed",
    "created_at": "2026-11-22T10:00:00.000000Z",
    "finished_at": "2026-11-22T10:00:00.080000Z",
    "endpoint_id": "ep_01m81s9dnhe47s3tch4srt7qb2",
    "event_id": _EVENT,
    "purpose": "test",
    "signature": {
        "message_id": _EVENT,
        "timestamp": 1795341600,
        "signed_content": f"{_EVENT}.1795341600.{_BODY}",
        "signed_content_sha256": "5f0c0e0d6f3f4a0c8f1f3b0e8d2d4c61a9a3b3e6b7f2ad1b84f6a1f3f2f0c9d7",
        "body_bytes": len(_BODY),
        "signatures": [{"version": "v1", "signature": _SIGNATURE, "secret": "current"}],
    },
    "request": {
        "method": "POST",
        "kind": "http",
        "url": "https://hooks.example/in",
        "headers": {
            "content-type": "application/json",
            "x-api-key": "***",
            "webhook-id": _EVENT,
            "webhook-timestamp": "1795341600",
            "webhook-signature": _SIGNATURE,
        },
        "body": _BODY,
    },
    "response": {"status": 401, "headers": {"content-type": "text/plain"}, "body": "bad", "body_truncated": False},
    "latency_ms": 61.2,
    "network_error": None,
    "verdict": {
        "ok": False,
        "outcome": "retry",
        "message": "401 Unauthorized",
        "hint": "the receiver refused the signature, or asks for credentials",
    },
    "error": None,
}
CHALLENGED: Final[dict[str, Any]] = {
    **RESULT, "purpose": "challenge", "verdict": {**RESULT["verdict"], "verified": False}
}  # fmt: skip
_ON_ITS_WAY: Final = example({"id": _EVENT, "delivery": _JOB}, 202, "it is on its way; `Location` shows its result")
TESTED: Final = example(RESULT, 200, "it has ended within `wait_s`") | _ON_ITS_WAY
VERIFIED: Final = example(CHALLENGED, 200, "it has ended within `wait_s`") | _ON_ITS_WAY
