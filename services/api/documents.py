"""How jobs and schedules are shown to people, pure: rows of the ledger to documents of the HTTP API, RFC 3339 UTC."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shared.kernel.clock import rfc3339
from shared.ledger.cron import next_ticks
from shared.ledger.progress import shown_progress
from shared.ledger.states import shown_state
from shared.ledger.store_schedule import CODE

Row = Mapping[str, Any]
NEXT_TICKS = 5
IDS_SHOWN = 20
_INSTANTS = frozenset({"until", "since", "next_at"})


def job_line(row: Row, now_us: int) -> dict[str, Any]:
    """One line of a list: without arguments, result and attempts, which may be large."""
    return {
        "id": row["id"],
        "task": row["task"],
        "queue": row["queue"],
        "state": shown_state(row["state"], row["run_at"], row["attempt"], now_us),
        "attempt": row["attempt"],
        "max_attempts": row["max_attempts"],
        "created_at": rfc3339(row["created_at"]),
        "run_at": rfc3339(row["run_at"]),
        "finished_at": rfc3339(row["finished_at"]),
        "error": error_of(row),
    }


def job_document(
    row: Row,
    attempts: Sequence[Row],
    now_us: int,
    waiting: Mapping[str, Any] | None,
    *,
    children: Mapping[str, int],
    actions: Sequence[Row],
) -> dict[str, Any]:
    return {
        **job_line(row, now_us),
        "tenant": row["tenant"],
        "priority": row["priority"],
        "lane": row["lane"],
        "crashes": row["crashes"],
        "args": orjson.loads(row["args"]),
        "result": orjson.loads(row["result"]) if row["result"] else None,
        "progress": shown_progress(row),
        "waiting_for": waiting,
        "cancel_requested_at": rfc3339(row["cancel_requested_at"]),
        "parent": row["parent"],
        "children": children_document(row, children) if children else None,
        "actions": [action_document(action) for action in actions],
        "attempts": [attempt_document(attempt) for attempt in attempts] + running_attempt(row, attempts),
    }


def children_document(row: Row, children: Mapping[str, int]) -> dict[str, Any]:
    """`waits_for`: how many of them have to be done before it may run; `states` are the stored ones."""
    return {"total": sum(children.values()), "waits_for": row["waits_for"], "states": dict(children)}


def action_document(row: Row) -> dict[str, Any]:
    return {"action": row["action"], "caller": row["caller"], "at": rfc3339(row["at"]), "outcome": row["outcome"]}


def attempt_document(row: Row) -> dict[str, Any]:
    error = error_of(row)
    if error is not None:
        error["trace"] = row["error_trace"]
    return {
        "number": row["number"],
        "started_at": rfc3339(row["started_at"]),
        "finished_at": rfc3339(row["finished_at"]),
        "outcome": row["outcome"],
        "error": error,
        "detail": orjson.loads(row["detail"]) if row["detail"] else None,
    }


def running_attempt(row: Row, attempts: Sequence[Row]) -> list[dict[str, Any]]:
    """The attempt that runs now has no row yet: it is shown from its claim.

    One that ended after the job was read has its row by now: it must not show twice.
    """
    if row["state"] != "running" or (attempts and attempts[-1]["fence"] >= row["fence"]):
        return []
    number = attempts[-1]["number"] + 1 if attempts else 1
    started = rfc3339(row["claimed_at"])
    return [
        {"number": number, "started_at": started, "finished_at": None, "outcome": None, "error": None, "detail": None}
    ]


def error_of(row: Row) -> dict[str, Any] | None:
    if row["error_type"] is None:
        return None
    return {"type": row["error_type"], "message": row["error_message"]}


def waiting_document(reason: Row | None) -> dict[str, Any] | None:
    """Why it has not started: a reason of `shared.ledger.holds`, its instants as people read them."""
    if reason is None:
        return None
    return {name: rfc3339(value) if name in _INSTANTS else value for name, value in reason.items()}


def group_name(task: str, fingerprint: str) -> str:
    return f"{task}:{fingerprint}"


def group_document(row: Row) -> dict[str, Any]:
    """`at_least`: there are more letters than were counted. The error is that of the latest."""
    return {
        "group": group_name(row["task"], row["fingerprint"]),
        "task": row["task"],
        "queue": row["queue"],
        "error": {"type": row["error_type"], "message": row["error_message"]},
        "count": row["count"],
        "at_least": row["at_least"],
        "first_seen": rfc3339(row["first_seen"]),
        "last_seen": rfc3339(row["last_seen"]),
    }


def schedule_document(row: Row, last: Row | None) -> dict[str, Any]:
    """`next` holds the ticks to come, at most NEXT_TICKS; a paused or removed schedule has none."""
    upcoming: list[int] = []
    if row["source"] == CODE and row["next_at"] is not None:
        upcoming = [row["next_at"], *next_ticks(row["cron"], row["time_zone"], row["next_at"], NEXT_TICKS - 1)]
    return {
        "id": row["id"],
        "task": row["task"],
        "queue": row["queue"],
        "tenant": row["tenant"],
        "state": "removed" if row["source"] != CODE else "paused" if row["paused"] else "active",
        "cron": row["cron"],
        "time_zone": row["time_zone"],
        "args": orjson.loads(row["args"]),
        "missed": row["missed"],
        "catch_up": row["catch_up"] if row["missed"] == "all" else None,
        "next": [rfc3339(tick) for tick in upcoming],
        "last": last and tick_document(last),
        "updated_at": rfc3339(row["updated_at"]),
    }


def tick_document(row: Row) -> dict[str, Any]:
    """`job` is null when the tick made none; `state` is null when its job has been purged. `missed` came before it."""
    shown = row["state"] and shown_state(row["state"], row["run_at"], row["attempt"], row["run_at"])
    return {"tick_at": rfc3339(row["tick_at"]), "job": row["job_id"], "state": shown, "missed": row["missed"]}


def action_line(row: Row) -> dict[str, Any]:
    """One line of the list of actions: of long lists of ids only the first."""
    return action_entry({**row, "target": _first_ids(row["target"]), "outcome": _first_ids(row["outcome"])})


def action_entry(row: Row) -> dict[str, Any]:
    """`caller` is an API key's id, or that of the job that acted for one; `job` where it was about one job."""
    return {
        "id": row["id"],
        "at": rfc3339(row["at"]),
        "caller": row["caller"],
        "action": row["action"],
        "job": row["job_id"],
        "target": row["target"],
        "outcome": row["outcome"],
    }


def _first_ids(value: dict[str, Any]) -> dict[str, Any]:
    ids = value.get("ids")
    if not isinstance(ids, list) or len(ids) <= IDS_SHOWN:
        return value
    return {**value, "ids": ids[:IDS_SHOWN], "ids_left_out": len(ids) - IDS_SHOWN}


def hour_document(row: Row) -> dict[str, Any]:
    """Seconds; null where nothing had run."""

    def told(name: str) -> dict[str, float] | None:
        if not row["ran"]:
            return None
        return {"mean": round(row[f"{name}_us_sum"] / row["ran"] / 1e6, 6), "max": row[f"{name}_us_max"] / 1e6}

    counts = {name: row[name] for name in ("completed", "dead", "cancelled", "retries")}
    return {"hour": rfc3339(row["hour"]), "task": row["task"], **counts, "run_s": told("run"), "wait_s": told("wait")}
