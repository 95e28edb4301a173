"""How assets are shown to people, pure: from the asset's row and its job's to the documents of the HTTP API."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import orjson

from shared.kernel.clock import rfc3339
from shared.ledger.progress import shown_progress

Row = Mapping[str, Any]
State = Literal["fetching", "accepted", "processing", "processed", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
_STATES: Mapping[str, State] = {
    "completed": "processed", "dead": "failed", "cancelled": "cancelled", "running": "processing",
}  # fmt: skip
ENDED = ("dead", "cancelled", None)
_SHOWN = ("name", "kind", "format", "content_type", "width", "height", "frames", "duration_s", "size_bytes", "sha256")


def asset_document(asset: Row, job: Row | None) -> dict[str, Any]:
    """`job` is None once retention has taken it: what the asset itself holds tells how it ended.

    While an asset is processed again, and when that fails, its `renditions` are those of before.
    """
    state = asset_state(asset, job["state"] if job is not None else None)
    return {
        "id": asset["id"],
        "state": state,
        "kind": asset["kind"] or None,
        "priority": asset["priority"],
        "job": asset["job_id"],
        "preset_set": asset["preset_set"],
        "size_bytes": asset["size_bytes"] or None,
        "sha256": asset["sha256"] or None,
        "created_at": rfc3339(asset["created_at"]),
        "probe": _json(asset["probe"]),
        "progress": shown_progress(job) if job is not None else None,
        "renditions": [rendition_document(asset["id"], item) for item in _json(asset["renditions"]) or []],
        "error": _json(asset["error"]) or _job_error(job) if state == "failed" else None,
    }


def asset_line(row: Row) -> dict[str, Any]:
    """One of a list: `row` is the asset's, with its job's state as `job_state`, and its progress."""
    job = None if row["job_state"] is None else {**row, "state": row["job_state"]}
    document = asset_document(row, job)
    renditions = [item["name"] for item in document["renditions"]]
    left_out = ("probe", "renditions", "sha256")
    return {**{name: value for name, value in document.items() if name not in left_out}, "renditions": renditions}


def asset_state(asset: Row, job_state: str | None) -> State:
    if not asset["source_key"] and job_state not in ENDED:
        return "fetching"  # its job is the one that brings its bytes
    if job_state is not None:
        return _STATES.get(job_state, "accepted")
    if asset["error"] is not None:
        return "failed"
    return "processed" if asset["renditions"] is not None else "cancelled"  # only ended jobs are ever taken


def rendition_document(asset_id: str, item: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: item[name] for name in _SHOWN if name in item}
    return {**shown, "url": f"/v1/media/{asset_id}/renditions/{item['name']}"}


def _json(value: str | None) -> Any:
    return orjson.loads(value) if value else None


def _job_error(job: Row | None) -> dict[str, Any] | None:
    if job is None or job["state"] != "dead":
        return None
    return {"code": job["error_type"], "message": job["error_message"]}
