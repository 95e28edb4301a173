"""`holdfast webhooks`: publish an event, say why a signature does not match, relay live deliveries to a local port."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from holdfast import show
from holdfast.client import Refused, connect
from holdfast.json_option import json_object
from holdfast.show import Json
from shared.kernel.errors import Misconfigured

app = typer.Typer(no_args_is_help=True, help="Publish events, check signatures, relay deliveries to this machine.")
SECRET_VARIABLE = "HOLDFAST_WEBHOOK_SECRET"  # noqa: S105 - a name
TOLERANCE_S = 300.0
DIGITS_MOST = 19
INPUT_MAX_BYTES = 16 * 1024 * 1024


@app.command()
def send(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="order.paid")],
    data: Annotated[str, typer.Option(help="a JSON object; @FILE reads it from a file, - from standard input")] = "{}",
    ordering_key: Annotated[str | None, typer.Option(help="deliveries of one key keep their order")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Publish one event; it is durable when this returns."""
    body: dict[str, Any] = {"type": event_type, "data": _object(data)}
    if ordering_key is not None:
        body["ordering_key"] = ordering_key
    accepted = connect().post("/v1/webhooks/events", body)
    if as_json:
        show.as_json(accepted)
    else:
        print(f"{accepted['id']} is accepted for {accepted['deliveries']} endpoints")


@app.command()
def verify(
    body: Annotated[str, typer.Argument(metavar="[BODY]", help="a file with the raw body; - is standard input")] = "-",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'name: value', as often as needed")
    ] = None,
    headers_file: Annotated[Path | None, typer.Option("--headers", help="a file: lines of a head, or JSON")] = None,
    secret: Annotated[list[str] | None, typer.Option(help=f"whsec_… or whpk_…; else {SECRET_VARIABLE}")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="seconds that a timestamp may be off")] = TOLERANCE_S,
    at: Annotated[float | None, typer.Option(help="seconds since 1970 instead of now, for an old message")] = None,
    *,
    compare: Annotated[bool, typer.Option("--compare", help="ask the system for the body that it sent")] = False,
    as_json: Json = False,
) -> None:
    """Say whether a delivery's signature is valid, or exactly why not. Exit 0 if it is, 1 if not."""
    from services.webhooks.diagnosis import diagnose  # noqa: PLC0415 - starts slowly; other commands do not need it

    headers = _headers(header or [], headers_file)
    secrets = secret or [os.environ[SECRET_VARIABLE]] if secret or SECRET_VARIABLE in os.environ else []
    raw = _bytes(body)
    found = diagnose(
        headers, raw, secrets,
        now_s=time.time() if at is None else at,
        tolerance_s=tolerance,
        original=_original(headers, raw) if compare else None,
    )  # fmt: skip
    if as_json:
        show.as_json(found.document())
    else:
        print(f"{'valid' if found.valid else 'NOT valid'}: {show.printable(found.words)}")
    raise typer.Exit(0 if found.valid else 1)


@app.command()
def listen(
    forward: Annotated[str, typer.Option(help="http://127.0.0.1:3000/hooks")],
    endpoint: Annotated[str | None, typer.Option(help="only deliveries to this endpoint")] = None,
    secret: Annotated[str | None, typer.Option(help="whsec_… to sign with; else one is made and shown")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="end after so many")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Relay every delivery that is accepted from now on to a local port, signed anew, until Ctrl-C."""
    from holdfast.listen import Session, run  # noqa: PLC0415 - as above

    key = secret or os.environ.get(SECRET_VARIABLE)
    session = Session.open(connect(), forward, endpoint=endpoint, secret=key)
    raise typer.Exit(run(session, count=count, as_json=as_json))


def _headers(given: list[str], file: Path | None) -> dict[str, str]:
    lines = list(given)
    if file is not None:
        text = _read(file).decode("utf-8", "replace")
        try:
            document = json.loads(text)
        except ValueError:
            lines += [line for line in text.splitlines() if ":" in line]
        else:
            if not isinstance(document, dict):
                raise Misconfigured("--headers must hold a JSON object, or a line for each header")
            lines += [f"{name}: {value}" for name, value in document.items()]
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Misconfigured(f"a header is 'name: value' (found {line[:80]!a})")
        headers[name.strip().lower()] = value.strip()
    return headers


def _original(headers: dict[str, str], raw: bytes) -> bytes | None:
    """What was sent; a number is the endpoint's, which nobody names here, so that of `raw` is taken."""
    from services.webhooks.payload import encode_body  # noqa: PLC0415 - as above
    from services.webhooks.sequence import MEMBER, numbered  # noqa: PLC0415

    event_id = headers.get("webhook-id", "")
    try:
        event = connect().get(f"/v1/webhooks/events/{quote(event_id, safe='')}")
    except Refused as refused:
        raise Misconfigured(f"the system does not know {event_id[:80]!a}: {refused}") from None
    if event["data"] is None:
        raise Misconfigured(f"the payload of {event_id[:80]} was erased")
    body = encode_body(event["type"], event["timestamp"], event["data"], ours=True).encode()
    number = raw.removeprefix(MEMBER).partition(b",")[0] if raw.startswith(MEMBER) else b""
    return numbered(body, int(number)) if number.isdigit() and len(number) < DIGITS_MOST else body


def _object(text: str) -> dict[str, Any]:
    if text == "-" or text.startswith("@"):
        text = _bytes(text.removeprefix("@")).decode("utf-8", "replace")
    return json_object(text, "--data")


def _bytes(name: str) -> bytes:
    return sys.stdin.buffer.read(INPUT_MAX_BYTES) if name == "-" else _read(Path(name))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(INPUT_MAX_BYTES)
    except OSError as error:
        raise Misconfigured(f"{file}: {error.strerror}") from None
