"""How the command line answers: JSON on one line when asked for, otherwise tables and sentences for people."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

console = Console()
Json = Annotated[bool, typer.Option("--json", help="one line of JSON")]


def as_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    if not rows:
        if empty:
            print(empty)
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[n]) for line in (list(columns), *cells)) for n in range(len(columns))]
    # Never cut: an id or a group that is shown can be copied into the next command.
    for line in ([column.upper() for column in columns], *cells):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def counts(answer: Mapping[str, Any]) -> None:
    """What was done, in a sentence: every count by its name, then what could not be."""
    done = ", ".join(f"{name} {value}" for name, value in answer.items() if isinstance(value, int))
    print(done or "nothing was done")
    for name, value in answer.items():
        if isinstance(value, list) and value:
            print(f"{name}: {', '.join(map(str, value))}")


def job(document: Mapping[str, Any]) -> None:
    """One job, as a person wants it: state first, then every attempt with its error."""
    console.print(f"[bold]{document['id']}[/]  {document['task']}  [bold]{document['state']}[/]")
    for name in ("queue", "lane", "created_at", "run_at", "finished_at"):
        if document.get(name):
            console.print(f"  {name}: {document[name]}")
    if document.get("waiting_for"):
        reason = dict(document["waiting_for"])
        words = ", ".join(f"{name} {value}" for name, value in reason.items() if name != "kind")
        console.print(f"  waiting for: {reason['kind'].replace('_', ' ')}" + (f" ({words})" if words else ""))
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
