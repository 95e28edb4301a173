"""`holdfast jobs watch` and `jobs output`: one job's events until its result, over cut connections and restarts.

What the job writes is printed as it comes, without the control characters that a terminal would obey.

Nothing is told twice: whoever comes back names the id that it saw last. Gives up when nobody has answered for
PATIENCE_S, and at once when nobody ever has. Exit code 0 when the job has completed, 1 when it is dead or cancelled.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any, TextIO

import httpx
from rich.progress import BarColumn, Progress, TextColumn

from holdfast import show
from holdfast.client import Client, Refused
from shared.kernel.errors import Misconfigured
from shared.runtime.sse import Event, Reader

PATIENCE_S = 60.0
RECONNECT_S = 1.0
_AWAY = (429, 502, 503, 504)


def events_of(client: Client, job: str) -> Iterator[Event]:
    """Events with their data read, the last one being `result`. Raises Refused, and Misconfigured past PATIENCE_S."""
    last_id, heard_s = "", -math.inf  # who has never been heard is not waited for
    while True:
        reader, pause_s = Reader(last_id), RECONNECT_S
        try:
            with client.stream(f"/v1/jobs/{job}/events", {"Last-Event-ID": last_id} if last_id else {}) as answer:
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return
                for piece in answer.iter_raw():
                    heard_s = time.monotonic()
                    for event in reader.feed(piece):
                        last_id = event.id
                        yield replace(event, data=json.loads(event.data))
                        if event.name == "result":
                            return
            pause_s = reader.retry_s or RECONNECT_S
        except Refused as refused:
            if refused.details.get("status") not in _AWAY or time.monotonic() - heard_s > PATIENCE_S:
                raise
        except (httpx.HTTPError, ValueError) as error:
            if time.monotonic() - heard_s > PATIENCE_S:
                raise Misconfigured(f"{client.base_url} does not answer: {error}") from None
        time.sleep(pause_s)


def watch(client: Client, job: str, *, as_json: bool) -> int:
    """Show the events as they come; returns the exit code."""
    state = _lines(client, job) if as_json else _bar(client, job)
    return 0 if state == "completed" else 1


def output(client: Client, job: str, *, follow: bool) -> int:
    """Print what the job has written and nothing else; returns the exit code, that of the job's end when followed."""
    if not follow:
        sys.stdout.write(show.printable(client.text(f"/v1/jobs/{job}/output")))
        return 0
    state = ""
    for event in events_of(client, job):
        if event.name == "output":
            _output(event.data, notices=sys.stderr)
        state = event.data.get("state", state)
    return 0 if state == "completed" else 1


def _lines(client: Client, job: str) -> str:
    state = ""
    for event in events_of(client, job):
        show.as_json({"event": event.name, "id": event.id, "data": event.data})
        sys.stdout.flush()
        state = event.data.get("state", state)
    return state


def _bar(client: Client, job: str) -> str:
    told = TextColumn("{task.percentage:>3.0f}%  {task.fields[note]}", markup=False)  # a note is a handler's words
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), told)
    result: dict[str, Any] = {}
    written = False
    told_of = events_of(client, job)
    first = list(islice(told_of, 1))  # what is refused is refused before there is a bar
    with Progress(*columns, console=show.console, transient=True) as progress:
        bar = progress.add_task(job, total=1.0, note="")
        for event in chain(first, told_of):
            if event.name == "progress":
                progress.update(bar, completed=event.data["fraction"], note=event.data["note"])
            elif event.name == "state":
                _state(progress, bar, event.data)
            elif event.name == "output":
                if not written:
                    progress.stop()  # a bar and a text would write over each other
                    written = True
                _output(event.data, notices=sys.stdout)
            else:
                result = event.data
    if written:
        sys.stdout.write("\n\n")
    show.job(result)
    return str(result.get("state", ""))


def _output(output: dict[str, Any], notices: TextIO) -> None:
    if not output["offset"] and not output["text"]:  # somebody else has begun anew
        notices.write(f"\n--- attempt {output['attempt']} begins anew ---\n")
        notices.flush()
    sys.stdout.write(show.printable(output["text"]))
    sys.stdout.flush()


def _state(progress: Progress, bar: Any, state: dict[str, Any]) -> None:
    number = f", attempt {state['attempt']} of {state['max_attempts']}" if state["attempt"] else ""
    if state["state"] == "running":  # each attempt starts anew
        progress.update(bar, completed=0.0, note="")
    progress.update(bar, description=f"{state['id']}  {state['state']}{number}")
