"""`holdfast queues` and `holdfast lanes`: what runs, what waits, and who holds it back: pause, resume, limit."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from holdfast import show
from holdfast.client import connect
from holdfast.show import Json
from shared.contracts.lane import is_lane_name
from shared.kernel.errors import Misconfigured

queues = typer.Typer(no_args_is_help=True, help="Queues: backlog, pause, resume.")
lanes = typer.Typer(no_args_is_help=True, help="Lanes of a queue: look, limit, pause, resume.")
Queue = Annotated[str, typer.Argument(help="api, media, media-bulk or webhooks")]
Name = Annotated[str, typer.Argument(help="the lane's name")]


@queues.command("list")
def queues_list(*, as_json: Json = False) -> None:
    """Every queue, with its backlog and whether it is paused."""
    page = connect().get("/v1/queues")
    if as_json:
        show.as_json(page)
        return
    show.table(page["items"], ["name", "backlog", "oldest_age_s", "paused_at"], empty="no queues")


@queues.command("pause")
def queues_pause(name: Queue, *, as_json: Json = False) -> None:
    """Start nothing more in a queue; running jobs go on."""
    _told(connect().post(f"/v1/queues/{quote(name, safe='')}/pause"), as_json=as_json)


@queues.command("resume")
def queues_resume(name: Queue, *, as_json: Json = False) -> None:
    """Let a paused queue go on."""
    _told(connect().post(f"/v1/queues/{quote(name, safe='')}/resume"), as_json=as_json)


@lanes.command("list")
def lanes_list(queue: str | None = None, limit: int = 50, cursor: str | None = None, *, as_json: Json = False) -> None:
    """Lanes that are limited or paused, or that have jobs which have not ended."""
    page = connect().get("/v1/lanes", queue=queue, limit=limit, cursor=cursor)
    if as_json:
        show.as_json(page)
        return
    columns = ["queue", "name", "waiting", "under_way", "concurrency", "rate_per_s", "burst", "ordered", "paused_at"]
    show.table(page["items"], columns, empty="no lanes")
    if page["next_cursor"]:
        print(f"more: --cursor {page['next_cursor']}")


@lanes.command("set")
def lanes_set(
    queue: Queue,
    name: Name,
    concurrency: Annotated[int | None, typer.Option(help="jobs under way at once")] = None,
    rate: Annotated[float | None, typer.Option(help="starts a second")] = None,
    burst: Annotated[int, typer.Option(help="starts at once after a rest")] = 1,
    *,
    ordered: Annotated[bool, typer.Option("--ordered", help="one at a time, in order")] = False,
    as_json: Json = False,
) -> None:
    """Limit a lane; what is not given is not limited."""
    limits = {"concurrency": concurrency, "rate_per_s": rate, "burst": burst, "ordered": ordered}
    _told(connect().put(_path(queue, name), limits), as_json=as_json)


@lanes.command("clear")
def lanes_clear(queue: Queue, name: Name, *, as_json: Json = False) -> None:
    """Give a lane's limits back to its jobs' command."""
    connect().delete(_path(queue, name))
    if as_json:
        show.as_json({"queue": queue, "name": name, "own": False})
    else:
        print(f"{queue}/{name} has no limits of its own any more")


@lanes.command("pause")
def lanes_pause(queue: Queue, name: Name, *, as_json: Json = False) -> None:
    """Start nothing more in a lane; running jobs go on."""
    _told(connect().post(f"{_path(queue, name)}/pause"), as_json=as_json)


@lanes.command("resume")
def lanes_resume(queue: Queue, name: Name, *, as_json: Json = False) -> None:
    """Let a paused lane go on."""
    _told(connect().post(f"{_path(queue, name)}/resume"), as_json=as_json)


def _path(queue: str, name: str) -> str:
    if not is_lane_name(name):
        raise Misconfigured("a lane's name is 1 to 200 printable characters without /")
    return f"/v1/lanes/{quote(queue, safe='')}/{quote(name, safe='')}"


def _told(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.as_json(answer)
        return
    what = f"{answer['queue']}/{answer['name']}" if "queue" in answer else answer["name"]
    if answer["paused"]:
        print(f"{what} is paused since {answer['paused_at']}")
        return
    limits = {name: answer.get(name) for name in ("concurrency", "rate_per_s", "ordered") if answer.get(name)}
    words = ", ".join(f"{name} {value}" for name, value in limits.items())
    print(f"{what} goes on" + (f", {words}" if words else ""))
