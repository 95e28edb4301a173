"""Settings that the manifests leave at their defaults, by reason: tests/k8s/test_settings.py holds the list complete.

Any of them can be given in an overlay, by a patch of the Deployment or by merging into `holdfast-config`.
"""

from __future__ import annotations

_API = "HOLDFAST_API_"
_WEBHOOKS = "HOLDFAST_WEBHOOKS_"
_MEDIA = "HOLDFAST_MEDIA_"


def _all(prefix: str, *names: str) -> set[str]:
    return {prefix + name for name in names}


LEFT: dict[str, set[str]] = {
    "the defaults are what is tested and measured; they hang together": _all(
        "HOLDFAST_", "BEAT_S", "LEASE_S", "SLOTS", "UNKNOWN_TASK_PATIENCE_S", "TX_CAP_S", "BODY_LIMIT_BYTES"
    ),
    "every queue is served by one relay Deployment": {"HOLDFAST_QUEUES"},
    "kills processes on purpose": {"HOLDFAST_FAULT_POINTS"},
    "a business decides how long is kept what": {
        *_all(
            _API, "KEEP_FINISHED_S", "KEEP_ATTEMPTS_S", "KEEP_ACTIONS_S", "KEEP_HOURS_S", "KEEP_DELETED_S"
        ),
        *_all(_WEBHOOKS, "KEEP_EVENTS_S", "DISABLE_AFTER_S"),
        *_all(_MEDIA, "UPLOAD_KEEP_S", "KEEP_CASUALTIES_S", "BROWSER_ORIGINS"),
    },
    "off until somebody wants it": {
        *_all(_API, "SYNC_URL", "SYNC_TOKEN", "SYNC_EVERY", "SYNC_TIME_ZONE", "SYNC_TENANT"),
        *_all(_WEBHOOKS, "EGRESS_PORTS", "EGRESS_PROXY"),
    },
    "bounds of one process or one call, which hold for any number of pods": {
        *_all(
            _API, "SMTP_CONNECT_S", "SMTP_TOTAL_S", "WATCHERS_MAX", "WATCHERS_PER_KEY", "WATCH_LIMIT_S", "PURGE_BATCH",
            "LLM_BUDGET_S", "LLM_IDLE_S", "LLM_TOTAL_S", "LLM_PROMPT_LIMIT_BYTES", "LLM_ANSWER_LIMIT_BYTES"
        ),
        *_all(
            _WEBHOOKS, "ENDPOINTS_MAX", "FRESH_S", "EVENTS_CACHE_BYTES", "PURGE_BATCH", "CONNECTIONS_MAX",
            "CONNECTIONS_PER_HOST", "CIRCUIT_WINDOW_S", "CIRCUIT_LEAST", "CIRCUIT_SHARE", "CIRCUIT_PAUSE_S",
            "CIRCUIT_PAUSE_MOST_S",
        ),
        *_all(
            _MEDIA, "DISK_RESERVE_BYTES", "UPLOAD_LIMIT_BYTES", "UPLOADS_MAX", "UPLOAD_MEMORY_BYTES", "FETCH_LIMIT_S",
            "WAITING_LIMIT", "TENANT_WAITING_LIMIT", "STREAMS_LIMIT", "REQUIRED_PROTECTIONS", "QUARANTINE_AFTER",
        ),
    },
    "limits of files and slots: memory of the pods is sized for these": _all(
        _MEDIA, "IMAGE_LIMIT_S", "VIDEO_LIMIT_S", "AUDIO_LIMIT_S", "SLOT_DATA_LIMIT_BYTES", "SLOT_RESIDENT_LIMIT_BYTES",
        "SLOT_FILE_LIMIT_BYTES", "SLOT_RECYCLE_AFTER", "SLOT_GROWTH_LIMIT_BYTES", "IMAGE_SIZE_LIMIT_BYTES",
        "IMAGE_PIXELS_LIMIT", "IMAGE_FRAMES_LIMIT", "IMAGE_OUTPUT_PIXELS_LIMIT", "VIDEO_SIZE_LIMIT_BYTES",
        "VIDEO_DURATION_LIMIT_S", "VIDEO_PIXELS_LIMIT", "AUDIO_SIZE_LIMIT_BYTES", "AUDIO_DURATION_LIMIT_S",
    ),
}  # fmt: skip
