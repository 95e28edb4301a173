"""Results as JSON, one file a run, and the Markdown table that the README shows."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench import venv
from bench.figures import Outcome

FOLDER = Path(__file__).parent / "results"


def fresh() -> Path:
    """A run of the same day gets a name of its own: raw data is never written over."""
    FOLDER.mkdir(exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    path = FOLDER / f"{now:%Y-%m-%d}.json"
    return FOLDER / f"{now:%Y-%m-%dT%H%M%S}.json" if path.exists() else path


def write(
    path: Path,
    outcomes: Sequence[Outcome],
    failed: Mapping[str, str],
    machine: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """After every scenario: a run that is cut short keeps what it has measured, and which scenarios failed."""
    document = {
        "failed": dict(failed),
        "at": f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": machine,
        "options": options,
        "peers": venv.versions(),
        "outcomes": [outcome.document() for outcome in outcomes],
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")


def newest() -> Path | None:
    return max(FOLDER.glob("*.json"), default=None, key=lambda path: path.stat().st_mtime)


def table(path: Path) -> str:
    document = orjson.loads(path.read_bytes())
    machine = document["machine"]
    rounds = document["options"]["rounds"]
    lines = [
        "| figure | database | median | min to max | target | |",
        "|---|---|---:|---:|---:|---|",
        *(_line(figure, outcome["database"]) for outcome in document["outcomes"] for figure in outcome["figures"]),
        "",
        (
            f"{document['at']}, {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, Python "
            f"{machine['python']}, fdatasync {machine['fdatasync_ms_p50']} ms; medians of {rounds} interleaved rounds, "
            f"one worker process; raw data: `bench/results/{path.name}`."
        ),
    ]
    return "\n".join(lines)


def _line(figure: dict[str, Any], database: str) -> str:
    verdict = {True: "met", False: "**missed**", None: ""}[figure["met"]]
    shown = f"{_number(figure['min'])} to {_number(figure['max'])}"
    return (
        f"| {figure['name']} | {database} | {_number(figure['median'])} {figure['unit']} | {shown} "
        f"| {figure['target'] or ''} | {verdict} |"
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2f}"
