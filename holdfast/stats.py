"""`holdfast stats`: jobs by hour and task, as a table."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from holdfast import show
from holdfast.client import connect
from holdfast.show import Json

PAGES_MOST = 100


def stats(
    hours: Annotated[int, typer.Option(min=1, max=31 * 24, help="of the last so many hours")] = 24,
    task: Annotated[str | None, typer.Option(help="of one task only")] = None,
    *,
    as_json: Json = False,
) -> None:
    """How many jobs ended in each hour, how long they waited and ran; the latest hour is counted when it is over."""
    until = datetime.now(UTC)
    since = until - timedelta(hours=hours)
    items: list[dict[str, Any]] = []
    cursor = None
    for _ in range(PAGES_MOST):
        page = connect().get(
            "/v1/stats/hourly",
            **{"from": _text(since), "to": _text(until), "task": task, "cursor": cursor, "limit": 100},
        )
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if as_json:
        show.as_json({"items": items, "next_cursor": cursor})
        return
    columns = [
        "hour",
        "task",
        "completed",
        "dead",
        "cancelled",
        "retries",
        "run_mean",
        "run_max",
        "wait_mean",
        "wait_max",
    ]
    show.table([_row(item) for item in items], columns, empty="nothing was counted")
    if cursor is not None:
        print("… there is more: ask for fewer hours")


def _row(item: dict[str, Any]) -> dict[str, Any]:
    cells = {**item, "hour": item["hour"][:16].replace("T", " ")}
    for name in ("run", "wait"):
        told = item[f"{name}_s"]
        for part in ("mean", "max"):
            cells[f"{name}_{part}"] = "" if told is None else f"{told[part]:.3f} s"
    return cells


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"
