"""Every route of the front: of each service's app, with bodies that it takes and ids that are there."""

from __future__ import annotations

import base64
import importlib
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr

from services.media.routes.files import SIGNED
from shared.contracts.commands import QUEUES, service_of
from shared.kernel.settings import CoreSettings
from shared.runtime.http import HEALTH_PATHS, api_routes

# What a POST or PATCH takes; what is not named here takes nothing.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/users"): {"email": "eve@example.com", "name": "Eve"},
    ("POST", "/v1/prompts"): {"prompt": "Hello?"},
    ("POST", "/v1/dead/retry"): {"filter": {}},
    ("POST", "/v1/dead/discard"): {"filter": {}},
    ("POST", "/v1/webhooks/events"): {"type": "e2e.walk.v1", "data": {}},
    ("POST", "/v1/webhooks/endpoints"): {"url": "http://127.0.0.1:9/x", "event_types": ["e2e.walk.v1"]},
    ("POST", "/v1/webhooks/events/batch"): {"events": [{"type": "e2e.walk.v1", "data": {}}]},
    ("POST", "/v1/webhooks/event-types"): {"name": "e2e.walk.v1"},
    ("POST", "/v1/webhooks/replays"): {"what": "event", "event_id": "evt_01jd0000000000000000000000"},
    ("PUT", "/v1/webhooks/event-types/{name}"): {},
    ("PATCH", "/v1/webhooks/event-types/{name}"): {"description": "mine now"},
    ("PUT", "/v1/media/presets/{name}"): {"image": [{"name": "tiny", "width": 16}]},
    ("PUT", "/v1/webhooks/retention"): {"payload_keep_s": 3600},
    ("POST", "/v1/media/from-url"): {"url": "http://127.0.0.1:9/photo.jpg"},
    ("POST", "/v1/media/direct"): {"size_bytes": 1000},
    ("PUT", "/v1/lanes/{queue}/{name}"): {"concurrency": 7},
    ("PATCH", "/v1/jobs/{job_id}"): {"priority": 1},
    ("PATCH", "/v1/webhooks/endpoints/{endpoint_id}"): {"description": "mine now"},
}
# What a GET has to be asked with.
QUERIES = {
    "/v1/webhooks/endpoints/{endpoint_id}/explain": "?event={event_id}",
    "/v1/webhooks/explain": "?event={event_id}&endpoint={endpoint_id}",
}
# A lane that a tenant limits or pauses is its own, whatever others call theirs; so is a type, a preset set, and how
# long it keeps.
OWN = {
    ("PUT", "/v1/media/presets/{name}"),
    ("GET", "/v1/webhooks/retention"),
    ("PUT", "/v1/webhooks/retention"),
    ("PUT", "/v1/webhooks/event-types/{name}"),
    ("PUT", "/v1/lanes/{queue}/{name}"),
    ("POST", "/v1/lanes/{queue}/{name}/pause"),
    ("POST", "/v1/lanes/{queue}/{name}/resume"),
}
SHARED = {
    "/v1/queues/{name}/pause",
    "/v1/queues/{name}/resume",
    "/v1/queues",
    "/v1/queues/{name}/backlog",
    "/v1/media/presets",
    "/v1/schedules",
    "/v1/schedules/{schedule_id}",
    "/v1/schedules/{schedule_id}/pause",
    "/v1/schedules/{schedule_id}/resume",
    "/v1/schedules/{schedule_id}/run",
    "/metrics",
}  # of no tenant; what is paused is resumed after it


def apps(folder: Path) -> dict[str, FastAPI]:
    core = CoreSettings(
        database_url=f"sqlite:///{folder}/none.db", state_dir=folder,
        master_key=SecretStr(base64.urlsafe_b64encode(b"k" * 32).decode()),
    )  # fmt: skip
    services = sorted({service_of(queue) for queue in QUEUES})
    return {service: importlib.import_module(f"services.{service}.app").create_app(core) for service in services}


def routes(folder: Path) -> list[tuple[str, str]]:
    """(method, path template) of every route that is not open to everybody: those that only look come first."""
    found = {
        (method, path)
        for app in apps(folder).values()
        for path, route in api_routes(app)
        for method in route.methods or ()
        if path not in HEALTH_PATHS and not path.startswith(SIGNED)
    }
    return sorted(found, key=lambda one: (one[0] != "GET", one))
