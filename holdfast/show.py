"""How the command line answers: JSON on one line when asked for, otherwise tables and sentences for people."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console()


def as_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    if not rows:
        console.print(empty)
        return
    made = Table(*columns, box=None, header_style="bold")
    for row in rows:
        made.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(made)


def job(document: Mapping[str, Any]) -> None:
    """One job, as a person wants it: state first, then every attempt with its error."""
    console.print(f"[bold]{document['id']}[/]  {document['task']}  [bold]{document['state']}[/]")
    for name in ("queue", "created_at", "run_at", "finished_at", "waiting_for"):
        if document.get(name):
            console.print(f"  {name}: {document[name]}")
    console.print("  args:", document.get("args"))
    if document.get("result") is not None:
        console.print("  result:", document["result"])
    for attempt in document.get("attempts", []):
        error = attempt.get("error")
        words = f"  {error['type']}: {error['message']}" if error else ""
        console.print(f"  #{attempt['number']} {attempt['outcome'] or 'running'} {attempt['started_at']}{words}")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value.get('type', '')}: {value.get('message', '')}"[:80]
    return "" if value is None else str(value)
