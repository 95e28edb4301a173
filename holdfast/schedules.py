"""`holdfast schedules`: what runs by itself, when it last did and will next; pause, resume, run one now."""

import json
from typing import Annotated, Any

import typer

from holdfast import show
from holdfast.client import connect, segment
from holdfast.show import Json

app = typer.Typer(no_args_is_help=True, help="Schedules: what runs by itself; pause, resume, run one now.")
ScheduleId = Annotated[str, typer.Argument(help="as `schedules list` shows it")]


@app.command("list")
def list_all(*, as_json: Json = False) -> None:
    """Every schedule with its next tick and its last one."""
    page = connect().get("/v1/schedules")
    if as_json:
        show.as_json(page)
        return
    rows = [
        {**item, "next": next(iter(item["next"]), None), "last": (item["last"] or {}).get("tick_at")}
        for item in page["items"]
    ]
    show.table(rows, ["id", "state", "cron", "time_zone", "next", "last"], empty="no schedules")


@app.command("show")
def show_one(schedule_id: ScheduleId, *, as_json: Json = False) -> None:
    """One schedule: its line, its next five ticks, the job of its last one."""
    found = connect().get(_path(schedule_id))
    if as_json:
        show.as_json(found)
        return
    last = found.pop("last")
    found["args"] = json.dumps(found["args"], ensure_ascii=False)
    found["next"] = ", ".join(found["next"]) or "none"
    if last is not None:
        found["last"] = f"{last['tick_at']} {last['job'] or 'no job'} {last['state'] or ''}".rstrip()
        found["missed before it"] = last["missed"]
    show.table(
        [{"": name, "value": value} for name, value in found.items() if value is not None], ["", "value"], empty=""
    )


@app.command("pause")
def pause(schedule_id: ScheduleId, *, as_json: Json = False) -> None:
    """Make no jobs of it until it is resumed."""
    _told(connect().post(_path(schedule_id, "/pause")), as_json=as_json)


@app.command("resume")
def resume(schedule_id: ScheduleId, *, as_json: Json = False) -> None:
    """Go on with its next tick; what came while it was paused is not made up for."""
    _told(connect().post(_path(schedule_id, "/resume")), as_json=as_json)


@app.command("run")
def run(schedule_id: ScheduleId, *, as_json: Json = False) -> None:
    """Make one job of it now, besides its ticks."""
    _told(connect().post(_path(schedule_id, "/run")), as_json=as_json)


def _path(schedule_id: str, verb: str = "") -> str:
    part = segment(schedule_id, "a schedule's id is needed: `holdfast schedules list` shows them")
    return f"/v1/schedules/{part}{verb}"


def _told(answer: Any, *, as_json: bool) -> None:
    if as_json:
        show.as_json(answer)
    elif "job" in answer:
        print(f"{answer['id']} runs as {answer['job']}")
    else:
        following = next(iter(answer["next"]), None)
        print(f"{answer['id']} is {answer['state']}" + (f", next at {following}" if following else ""))
