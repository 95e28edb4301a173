"""How assets are shown to people, pure: from the asset's row and its job's to the documents of the HTTP API."""

from collections.abc import Mapping
from typing import Any

import orjson

from shared.kernel.clock import rfc3339
from shared.ledger.progress import shown_progress

Row = Mapping[str, Any]
_STATES = {"completed": "processed", "dead": "failed", "cancelled": "cancelled", "running": "processing"}


def asset_document(asset: Row, job: Row | None) -> dict[str, Any]:
    """`job` is None once retention has taken it: what the asset itself holds tells how it ended."""
    return {
        "id": asset["id"],
        "state": asset_state(asset, job),
        "job": asset["job_id"],
        "preset_set": asset["preset_set"],
        "size_bytes": asset["size_bytes"],
        "sha256": asset["sha256"],
        "created_at": rfc3339(asset["created_at"]),
        "probe": _json(asset["probe"]),
        "progress": shown_progress(job) if job is not None else None,
        "renditions": [rendition_document(asset["id"], item) for item in _json(asset["renditions"]) or []],
        "error": _json(asset["error"]) or _job_error(job),
    }


def asset_state(asset: Row, job: Row | None) -> str:
    """accepted, processing, processed, failed, cancelled."""
    if asset["renditions"] is not None:
        return "processed"
    if asset["error"] is not None and (job is None or job["state"] == "dead"):
        return "failed"
    return _STATES.get(job["state"], "accepted") if job is not None else "failed"


def rendition_document(asset_id: str, item: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: item[name] for name in ("name", "width", "height", "format", "size_bytes", "sha256")}
    return {**shown, "url": f"/v1/media/{asset_id}/renditions/{item['name']}"}


def _json(value: str | None) -> Any:
    return orjson.loads(value) if value else None


def _job_error(job: Row | None) -> dict[str, Any] | None:
    if job is None or job["state"] != "dead":
        return None
    return {"code": job["error_type"], "message": job["error_message"]}
