"""`holdfast media`: upload a file, see what became of it, cancel it, have it processed again.

On a terminal an upload and what follows it are shown as bars; elsewhere, and with `--json`, nothing but the answer is
printed. Exit code 1 when what was waited for did not end well.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from holdfast import show
from holdfast.client import Client, connect, segment
from holdfast.json_option import json_object
from holdfast.show import Json
from holdfast.watch import events_of, watch
from shared.kernel.errors import Misconfigured

app = typer.Typer(no_args_is_help=True, help="Media: upload, look, list, cancel, process again, preset sets.")
CHUNK_BYTES = 256 * 1024
UPLOAD_TIMEOUT_S = 600.0
AssetId = Annotated[str, typer.Argument(help="the asset's id, ast_…")]
Priority = Annotated[str | None, typer.Option(help="interactive or bulk")]
Focus = Annotated[str | None, typer.Option(help="where `cover` cuts a picture: 0.3,0.7 from the top left")]
Wait = Annotated[bool, typer.Option("--wait", help="until it has been processed; exit 1 if that fails")]


@app.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help="an image, a video or a sound")],
    presets: Annotated[str, typer.Option(help="the preset set")] = "default",
    priority: Priority = None,
    focus: Focus = None,
    *,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Send a file, and with `--wait` follow it until its renditions are there."""
    client = connect()
    answer = _send(client, file, {"presets": presets, "priority": priority, "focus": focus}, quiet=as_json)
    _accepted(client, answer, wait=wait, as_json=as_json)


@app.command("show")
def show_asset(asset_id: AssetId, *, as_json: Json = False) -> None:
    """One asset with its renditions."""
    _shown(connect().get(_path(asset_id)), as_json=as_json)


@app.command("list")
def list_assets(
    state: Annotated[str | None, typer.Option(help="accepted, processing, processed, failed, cancelled")] = None,
    kind: Annotated[str | None, typer.Option(help="image, video or audio")] = None,
    created_from: Annotated[str | None, typer.Option("--from", help="RFC 3339")] = None,
    created_until: Annotated[str | None, typer.Option("--until", help="RFC 3339")] = None,
    limit: int = 50,
    cursor: str | None = None,
    *,
    as_json: Json = False,
) -> None:
    """The newest assets."""
    page = connect().get(
        "/v1/media", state=state, kind=kind, created_from=created_from, created_until=created_until, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    if as_json:
        show.as_json(page)
        return
    columns = ["id", "kind", "state", "priority", "preset_set", "size_bytes", "created_at"]
    show.table(page["items"], columns, empty="" if page["next_cursor"] else "no assets")
    if page["next_cursor"]:
        print(f"more: --cursor {page['next_cursor']}")


@app.command("cancel")
def cancel(asset_id: AssetId, *, as_json: Json = False) -> None:
    """Do not process an asset, or end the slot that does."""
    answer = connect().post(f"{_path(asset_id)}/cancel")
    if as_json:
        show.as_json(answer)
    elif answer["requested"]:
        show.line(f"{asset_id} is being processed: its slot is ended")
    else:
        show.line(f"{asset_id} is {answer['state']}")


@app.command("reprocess")
def reprocess(
    asset_id: AssetId,
    presets: Annotated[str | None, typer.Option(help="another set; else its own, as that is now")] = None,
    only: Annotated[str | None, typer.Option("--set", help="a whole set as JSON, for this once")] = None,
    priority: Priority = None,
    focus: Focus = None,
    *,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Make the renditions of an asset anew; the old ones stay until then."""
    if presets is not None and only is not None:
        raise typer.BadParameter("give --presets or --set, not both")
    client = connect()
    chosen = presets if only is None else json_object(only, "--set", "a preset set")
    body = {"presets": chosen, "priority": priority, "focus": focus}
    answer = client.post(f"{_path(asset_id)}/reprocess", {name: value for name, value in body.items() if value})
    _accepted(client, answer, wait=wait, as_json=as_json)


@app.command("presets")
def presets_list(*, as_json: Json = False) -> None:
    """The preset sets that there are."""
    page = connect().get("/v1/media/presets")
    if as_json:
        show.as_json(page)
        return
    rows = [
        {"name": item["name"], **{kind: " ".join(one["name"] for one in item.get(kind, [])) for kind in _KINDS}}
        for item in page["items"]
    ]
    show.table(rows, ["name", *_KINDS], empty="no preset sets")


_KINDS = ("image", "video", "audio")


def _send(client: Client, file: Path, params: dict[str, str | None], *, quiet: bool) -> Any:
    try:
        size = file.stat().st_size
        source = file.open("rb")
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror}") from None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    hidden = quiet or not show.console.is_terminal
    with source, Progress(*columns, console=show.console, transient=True, disable=hidden) as progress:
        bar = progress.add_task(file.name, total=size)

        def chunks() -> Iterator[bytes]:
            while chunk := source.read(CHUNK_BYTES):
                yield chunk
                progress.advance(bar, len(chunk))

        return client.send("/v1/media", chunks(), size, timeout_s=UPLOAD_TIMEOUT_S, **params)


def _accepted(client: Client, answer: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    if not wait:
        if as_json:
            show.as_json(answer)
        else:
            show.line(f"{answer['id']} is {answer['state']}; follow it: holdfast jobs watch {answer['job']}")
        return
    if as_json or not show.console.is_terminal:
        for _ in events_of(client, answer["job"]):
            pass
    else:
        watch(client, answer["job"], as_json=False)
    _shown(client.get(_path(answer["id"])), as_json=as_json)


def _shown(asset: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asset, ensure_ascii=False))
        sys.stdout.flush()
    else:
        show.line(f"{asset['id']}  {asset['kind']}  {asset['state']}")
        for name in ("priority", "preset_set", "size_bytes", "sha256", "created_at", "job"):
            show.line(f"  {name}: {asset[name]}")
        if asset["error"]:
            show.line(f"  error: {asset['error']['code']}: {asset['error']['message']}")
        if asset["progress"] and asset["state"] == "processing":
            show.line(f"  progress: {asset['progress']['fraction']:.0%} {asset['progress']['note']}")
        columns = ["name", "kind", "format", "width", "height", "duration_s", "size_bytes", "url"]
        show.table(asset["renditions"], columns, empty="")
    if asset["state"] in ("failed", "cancelled"):
        raise typer.Exit(1)


def _path(asset_id: str) -> str:
    part = segment(asset_id, "an asset's id is needed: `holdfast media list` shows them")
    return f"/v1/media/{part}"
