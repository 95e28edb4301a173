"""What endpoints look like in the OpenAPI: registered, working, with an open circuit, rotated, disabled."""

from typing import Any, Final

_PUBLIC: Final = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
_MADE: Final = "2026-11-22T10:00:00.000000Z"
_TERMS: Final = {
    "url": "https://example.com/hooks", "event_types": ["order.*", "delivery.exhausted"],
    "description": "Orders, to the warehouse", "metadata": {"team": "orders"}, "rate_per_s": 20.0,
}  # fmt: skip
REGISTER: Final[dict[str, Any]] = {
    "plain": {
        "summary": "Every event of some types",
        "value": {"url": "https://example.com/hooks", "event_types": ["order.*"]},
    },
    "chosen": {
        "summary": "Signed with both kinds, at a pace, with a header of its own",
        "value": {**_TERMS, "signing": ["v1", "v1a"], "headers": {"X-Api-Key": "k-2f9c01"}},
    },
    "filtered": {
        "summary": "Large orders of one shop, in order",
        "value": {
            "url": "https://example.com/hooks", "event_types": ["order.*"], "channels": ["shop-7"],
            "filter": {"path": "/data/amount", "gte": 10_000}, "ordering": "key",
        },
    },
}  # fmt: skip
CHANGE: Final[dict[str, Any]] = {
    "types": {"summary": "Other types, and more patience", "value": {"event_types": ["order.*"], "timeout_s": 30}},
    "schedule": {"summary": "Retries of its own", "value": {"retry_schedule_s": [5, 60, 3600]}},
    "no limit": {"summary": "Without its pace and its headers", "value": {"rate_per_s": None, "headers": None}},
}
ROTATE: Final[dict[str, Any]] = {
    "all": {"summary": "Everything that it signs with", "value": {"overlap_s": 86_400}},
    "leaked": {"summary": "A secret has leaked: at once", "value": {"overlap_s": 0, "signing": ["v1"]}},
}
_WELL: Final[dict[str, Any]] = {
    "circuit": "closed", "opened_at": None, "probe_at": None, "failing_since": None, "failures_in_a_row": 0,
    "last_failure": None, "disables_at": None, "concurrency_ceiling": None,
}  # fmt: skip
_NEW_SECRETS: Final = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "signing_key": "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
}
WORKING: Final[dict[str, Any]] = {
    "id": "ep_01m81s9dese3ksgafskmq7x1bp", **_TERMS, "retry_schedule_s": None, "timeout_s": 15.0,
    "header_names": ["x-api-key"], "sequence": False, "enabled": True, "disabled_reason": None, "version": 1,
    "signing": ["v1", "v1a"], "public_key": _PUBLIC, "previous_public_keys": [], "previous_secret_until": None,
    "created_at": _MADE, "updated_at": _MADE, "filter": None, "channels": None, "concurrency": None,
    "ordering": "none", "kind": "http", "config": None, "client_certificate": None, "oauth2": None,
    "verification": {"required": False, "verified_at": None}, "health": _WELL,
}  # fmt: skip
REGISTERED: Final[dict[str, Any]] = {**WORKING, **_NEW_SECRETS}
CHANGED: Final[dict[str, Any]] = {**WORKING, "event_types": ["order.*"], "timeout_s": 30.0, "version": 2}
DISABLED: Final[dict[str, Any]] = {
    **WORKING, "enabled": False, "disabled_reason": "disabled by request", "version": 2
}  # fmt: skip
SHOWN: Final[dict[str, Any]] = {
    **WORKING,
    "health": {
        "circuit": "open", "opened_at": "2026-11-22T14:07:31.000000Z", "probe_at": "2026-11-22T14:07:36.000000Z",
        "failing_since": "2026-11-22T14:06:58.000000Z", "failures_in_a_row": 12,
        "last_failure": "503 Service Unavailable", "disables_at": "2026-11-27T14:06:58.000000Z",
        "concurrency_ceiling": 1,
    },
}  # fmt: skip
ROTATED: Final[dict[str, Any]] = {
    **WORKING, "version": 2, "public_key": "whpk_cHwcUGQ0cIvbVtpVbKzSPGcXpSVy7cWcGWgMvQ4Nf3Q=",
    "previous_public_keys": [{"public_key": _PUBLIC, "until": "2026-11-23T14:07:31.000000Z"}],
    "previous_secret_until": "2026-11-23T14:07:31.000000Z", **_NEW_SECRETS,
}  # fmt: skip
