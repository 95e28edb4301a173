"""Every route of the front: of each service's app, with bodies that it takes and ids that are there."""

from __future__ import annotations

import base64
import importlib
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr

from shared.contracts.commands import QUEUES
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
    ("PUT", "/v1/lanes/{queue}/{name}"): {"concurrency": 7},
    ("PATCH", "/v1/jobs/{job_id}"): {"priority": 1},
    ("PATCH", "/v1/webhooks/endpoints/{endpoint_id}"): {"description": "mine now"},
}
# A lane that a tenant limits or pauses is its own, whatever others call theirs.
OWN = {
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
    return {queue: importlib.import_module(f"services.{queue}.app").create_app(core) for queue in QUEUES}


def routes(folder: Path) -> list[tuple[str, str]]:
    """(method, path template) of every route that is not open to everybody: those that only look come first."""
    found = {
        (method, path)
        for app in apps(folder).values()
        for path, route in api_routes(app)
        for method in route.methods or ()
        if path not in HEALTH_PATHS
    }
    return sorted(found, key=lambda one: (one[0] != "GET", one))
