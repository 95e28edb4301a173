"""Results as JSON, one file a run, and the Markdown that README and docs/explanation/performance.md show of them.

What stands between the markers is made here and nowhere else: nobody types a figure.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench import venv
from bench.figures import Outcome

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "bench" / "results"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PAGE = "docs/explanation/performance.md"
# For the README; a figure whose name begins so, on PostgreSQL. The page shows all.
TELLING = (
    "durable deliveries ÷ bare aiohttp",
    "durable no-op drain ÷ stock taskiq-redis",
    "no-op drain ÷ Celery",
    "no-op drain ÷ pgqueuer at batch 100",
    "Holdfast: no-op drain with 300,000 dead rows",
    "accept an event ÷ FastAPI",
    "enqueue → start at 100/s",
    "accept → receiver at 200/s",
    "accept → receiver at 70 % of saturation, p99",
    "claim + complete, deep ÷ empty: backend CPU",
    "Valkey's memory",
    "idle: CPU of relay",
)
TITLES = {
    "deliveries": "Webhook deliveries",
    "drain": "Draining no-ops",
    "accept": "Accepting events",
    "latency": "Latency at a fixed rate",
    "saturation": "Latency at 70 % of saturation",
    "flat": "A deep ledger with dead rows",
    "depths": "Cost against backlog",
    "spread": "Many tenants and lanes",
    "history": "Beside a long history",
    "peers": "Other job systems",
    "burden": "Drains under burdens",
    "workers": "A second worker",
    "idle": "Nothing to do",
}


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
    """By its name, which is when it began: in a fresh clone all files are as old as the clone."""
    return max(FOLDER.glob("*.json"), default=None, key=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(path.read_bytes())
    return {**document, "name": path.name}


def table(document: dict[str, Any]) -> str:
    """Every figure, for the terminal."""
    return "\n".join([*_HEAD, *_lines(document["outcomes"]), "", _circumstances(document)])


def short(document: dict[str, Any]) -> str:
    """The README's block."""
    chosen = [
        (figure, "postgres")
        for beginning in TELLING
        for outcome in document["outcomes"]
        for figure in outcome["figures"]
        if outcome["database"] == "postgres" and figure["name"].startswith(beginning)
    ]
    words = (
        f"`make bench` measures against references in the same minutes, interleaved; raw data in "
        f"[bench/results](bench/results). {_verdict(document)} All figures, what limits each and how to repeat them: "
        f"[performance]({PAGE})."
    )
    return "\n".join([words, "", *_HEAD, *(_line(*pair) for pair in chosen), "", _circumstances(document)])


def full(document: dict[str, Any]) -> str:
    """The page's block: every scenario with its figures, its tables and its notes."""
    parts = [_circumstances(document), "", _verdict(document)]
    for scenario, title in TITLES.items():
        outcomes = [outcome for outcome in document["outcomes"] if outcome["scenario"] == scenario]
        if not outcomes:
            continue
        parts += ["", f"### {title}", "", *_HEAD, *_lines(outcomes)]
        for outcome in outcomes:
            for shown in outcome.get("tables", []):
                parts += ["", f"{shown['title']}:", "", *_grid(shown)]
            notes = [f"- {outcome['database']}: {note}" for note in outcome["notes"]]
            parts += ["", *notes] if notes else []
    parts += ["", *(f"- {name} failed: {why}" for name, why in document.get("failed", {}).items())]
    return "\n".join(parts).rstrip()


def publish(document: dict[str, Any], *, readme: bool) -> list[str]:
    """Put the blocks where they belong; returns the names of the files."""
    blocks = {PAGE: full(document), **({"README.md": short(document)} if readme else {})}
    for name, block in blocks.items():
        path = ROOT / name
        path.write_text(between(path.read_text("utf-8"), block), "utf-8")
    return list(blocks)


def between(text: str, block: str) -> str:
    """`text` with `block` between its markers; raises ValueError when they are not there exactly once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"needs {BEGIN} and then {END}, each once")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{block.strip()}\n{END}{rest.partition(END)[2]}"


_HEAD = ("| figure | database | median | min to max | target | |", "|---|---|---:|---:|---:|---|")


def _lines(outcomes: Sequence[dict[str, Any]]) -> list[str]:
    return [_line(figure, outcome["database"]) for outcome in outcomes for figure in outcome["figures"]]


def _line(figure: dict[str, Any], database: str) -> str:
    verdict = {True: "met", False: "**missed**", None: ""}[figure["met"]]
    shown = f"{_number(figure['min'])} to {_number(figure['max'])}"
    return (
        f"| {figure['name']} | {database} | {_number(figure['median'])} {figure['unit']} | {shown} "
        f"| {figure['target'] or ''} | {verdict} |"
    )


def _grid(shown: dict[str, Any]) -> list[str]:
    def cell(value: Any) -> str:
        return "" if value is None else value if isinstance(value, str) else _number(value)

    marks = ["---:" if all(not isinstance(row[at], str) for row in shown["rows"]) else "---"
             for at in range(len(shown["columns"]))]  # fmt: skip
    rows = [[cell(value) for value in row] for row in shown["rows"]]
    return [f"| {' | '.join(row)} |" for row in (shown["columns"], marks, *rows)]


def _verdict(document: dict[str, Any]) -> str:
    judged = [figure["met"] for outcome in document["outcomes"] for figure in outcome["figures"] if figure["target"]]
    return f"{sum(judged)} of {len(judged)} targets are met."


def _circumstances(document: dict[str, Any]) -> str:
    machine, options = document["machine"], document["options"]
    size = ", small counts" if options["quick"] else ""
    rounds = "one round only" if options["rounds"] == 1 else f"medians of {options['rounds']} interleaved rounds"
    return (
        f"{document['at']}, {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, Python "
        f"{machine['python']}, fdatasync {machine['fdatasync_ms_p50']} ms; {rounds}{size}; "
        "PostgreSQL 18 with fsync, Valkey with an everysec log; one worker process unless said "
        f"otherwise; raw data: `bench/results/{document['name']}`."
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2f}"
