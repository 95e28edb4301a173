"""What the OpenAPI shows of users, jobs, dead letters and decisions: one signup whose welcome email gave up."""

from typing import Any, Final

_USER: Final = "user_01m81s9dese3ksgafskmq7x1bp"
_JOB: Final = "job_01m81s9e7eeq0t6bt98kdwkr7c"
_KEY: Final = "key_01m81s8zq2f5c9zr3xqj0v4hdn"
_ARGS: Final = {"user_id": _USER, "email": "ada@example.com", "name": "Ada"}
_ERROR: Final = {"type": "Dead", "message": "SMTP 550: no such mailbox"}

NEW_USER: Final[dict[str, Any]] = {"email": "ada@example.com", "name": "Ada"}
SIGNED_UP: Final[dict[str, Any]] = {"id": _USER, "job": _JOB}
USER: Final[dict[str, Any]] = {"id": _USER, **NEW_USER, "created_at": "2026-11-22T10:00:00.000000Z"}

JOB_LINE: Final[dict[str, Any]] = {
    "id": _JOB, "task": "email.send_welcome", "queue": "api", "state": "dead", "attempt": 1, "max_attempts": 12,
    "created_at": "2026-11-22T10:00:00.000000Z", "run_at": "2026-11-22T10:00:00.000000Z",
    "finished_at": "2026-11-22T10:00:01.204117Z", "error": _ERROR,
}  # fmt: skip
JOB: Final[dict[str, Any]] = {
    **JOB_LINE, "tenant": "acme", "priority": 4, "lane": None, "crashes": 0, "args": _ARGS, "result": None,
    "progress": {"fraction": 0.5, "note": "connected", "at": "2026-11-22T10:00:00.701532Z"}, "waiting_for": None,
    "cancel_requested_at": None, "parent": None, "children": None,
    "actions": [
        {"action": "change", "caller": _KEY, "at": "2026-11-22T10:00:00.310022Z", "outcome": {"priority": 4}},
    ],
    "attempts": [
        {
            "number": 1, "started_at": "2026-11-22T10:00:00.412009Z", "finished_at": "2026-11-22T10:00:01.204117Z",
            "outcome": "dead", "error": {**_ERROR, "trace": "Traceback (most recent call last): …"}, "detail": None,
        },
    ],
}  # fmt: skip
CHANGES: Final[dict[str, Any]] = {
    "sooner": {"summary": "Serve it first", "value": {"priority": 0}},
    "later": {"summary": "At another time", "value": {"run_at": "2026-01-31T12:00:00Z"}},
}
CHANGED: Final[dict[str, Any]] = {
    "id": _JOB, "state": "scheduled", "priority": 4, "run_at": "2026-11-22T12:00:00.000000Z"
}  # fmt: skip
AGAIN: Final[dict[str, Any]] = {
    "as it was": {"summary": "With the arguments that it had", "value": {}},
    "edited": {"summary": "With other arguments", "value": {"args": _ARGS}},
}
RETRIED: Final[dict[str, Any]] = {"id": _JOB, "state": "queued"}
CANCELLED: Final[dict[str, Any]] = {"id": _JOB, "state": "cancelled", "requested": False}

_GROUP: Final = "email.send_welcome:4aa8506005b9686b"
DEAD: Final[dict[str, Any]] = {
    "items": [{**JOB_LINE, "group": _GROUP}],
    "next_cursor": None,
    "groups": [
        {
            "group": _GROUP, "task": "email.send_welcome", "queue": "api", "error": _ERROR, "count": 1,
            "at_least": False, "first_seen": "2026-11-22T10:00:01.204117Z",
            "last_seen": "2026-11-22T10:00:01.204117Z",
        },
    ],
    "groups_more": False,
}  # fmt: skip
_REST: Final = {"more": False, "unknown": [], "not_dead": ["job_01m81s9e7eeq0t6bt98kdwkr7b"]}
DEAD_RETRIED: Final[dict[str, Any]] = {"retried": 1, **_REST}
DEAD_DISCARDED: Final[dict[str, Any]] = {"discarded": 1, **_REST}
RETRY_DEAD: Final[dict[str, Any]] = {
    "some": {"summary": "Some", "value": {"ids": [_JOB]}},
    "canary": {
        "summary": "Five of a group, and the rest if those complete", "value": {"group": _GROUP, "canary": 5},
    },
    "edited": {"summary": "One, with other arguments", "value": {"ids": [_JOB], "args": _ARGS}},
    "all": {"summary": "All of a task", "value": {"filter": {"task": "webhooks.deliver"}}},
}  # fmt: skip
DISCARD_DEAD: Final[dict[str, Any]] = {name: RETRY_DEAD[name] for name in ("some", "all")}
CANARY: Final[dict[str, Any]] = {"job": "job_01m81s9e7eeq0t6bt98kdwkr7d", "canaries": [_JOB]}

ACTION: Final[dict[str, Any]] = {
    "id": "act_01m81s9f02nqk6cdtt7yq4e1zs", "at": "2026-11-22T10:05:00.000000Z", "caller": _KEY, "action": "retry",
    "job": _JOB, "target": {"ids": [_JOB]}, "outcome": {"count": 1, "ids": [_JOB], "more": False},
}  # fmt: skip
