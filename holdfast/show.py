"""How the command line answers: JSON on one line when asked for, otherwise tables and sentences for people."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

_UNPRINTED = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
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
    console.print(f"[bold]{escape(document['id'])}[/]  {escape(document['task'])}  [bold]{document['state']}[/]")
    for name in ("queue", "lane", "created_at", "run_at", "finished_at"):
        if document.get(name):
            line(f"  {name}: {document[name]}")
    if document.get("waiting_for"):
        reason = dict(document["waiting_for"])
        words = ", ".join(f"{name} {value}" for name, value in reason.items() if name != "kind")
        line(f"  waiting for: {reason['kind'].replace('_', ' ')}" + (f" ({words})" if words else ""))
    line(f"  args: {document.get('args')}")
    if document.get("result") is not None:
        line(f"  result: {document['result']}")
    for attempt in document.get("attempts", []):
        error = attempt.get("error")
        words = f"  {error['type']}: {error['message']}" if error else ""
        line(f"  #{attempt['number']} {attempt['outcome'] or 'running'} {attempt['started_at']}{words}")


def line(words: str) -> None:
    """What others wrote, as it is: brackets are no markup here, and nothing of it is obeyed by the terminal."""
    console.print(printable(words), markup=False, highlight=False)


def printable(words: str) -> str:
    return words.translate(_UNPRINTED)


def escaped(words: str) -> str:
    """For where brackets are markup."""
    return escape(printable(words))


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return printable(f"{value.get('type', '')}: {value.get('message', '')}"[:80]).replace("\n", " ")
    return "" if value is None else printable(str(value))
