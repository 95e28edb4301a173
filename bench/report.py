"""Results as JSON, one file a run, and the Markdown that README and docs/explanation/performance.md show of them.

What stands between the markers is made here and nowhere else: nobody types a figure. Scenarios that were measured in
runs of their own stand side by side (`merged`), and every row names its run.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench import venv
from bench.figures import Outcome

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "bench" / "results"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PAGE = "docs/explanation/performance.md"
STOLEN_MOST = 0.1
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
    "healthy endpoints, p99 beside 5 % that hang ÷ alone",
    "claim + complete, deep ÷ empty: backend CPU",
    "Valkey's memory",
    "idle: CPU of relay",
    "media: pool ÷ bare loop, 12 MP JPEG → WebP",
    "media: a killed slot is back",
    "media: CPU ÷ Pillow",
    "media: CPU ÷ ffmpeg",
    "upload → renditions beside 1,000 of a batch ÷ alone",
)
TITLES = {
    "deliveries": "Webhook deliveries",
    "anatomy": "Where a delivery's time goes in its worker",
    "crowd": "Deliveries to many endpoints",
    "hanging": "Beside endpoints that hang",
    "drain": "Draining no-ops",
    "accept": "Accepting events",
    "latency": "Latency at a fixed rate",
    "saturation": "Latency at 70 % of saturation",
    "flat": "A deep ledger with dead rows",
    "depths": "Cost against backlog",
    "spread": "Many tenants and lanes",
    "rotation": "Taking turns",
    "history": "Beside a long history",
    "peers": "Other job systems",
    "burden": "Drains under burdens",
    "urgent": "A picture beside a batch",
    "media": "Pictures and films in slots",
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


def published() -> list[Path]:
    """Every run that was measured to be published: not the quick ones."""
    return [path for path in sorted(FOLDER.glob("*.json")) if not read(path)["options"]["quick"]]


def read(path: Path) -> dict[str, Any]:
    """As it was written, with the run's name: when it began."""
    document: dict[str, Any] = orjson.loads(path.read_bytes())
    return {**document, "run": path.stem}


def merged(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The newest outcome of each scenario on each database, in the page's order, each with its run's name.

    By the runs' names: in a fresh clone all files are as old as the clone. One for which others had more than
    STOLEN_MOST of the machine takes the place only of one that had no quieter time. A failure counts until the
    scenario has come to an outcome in the same run or a later one. `runs`: the circumstances of those that are named.
    """
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    failed: dict[str, dict[str, str]] = {}
    runs: dict[str, dict[str, Any]] = {}
    for document in sorted(documents, key=lambda document: str(document["run"])):
        runs[document["run"]] = {name: value for name, value in document.items() if name not in ("outcomes", "failed")}
        for name, why in document.get("failed", {}).items():
            failed[name] = {"run": document["run"], "why": why}
        for outcome in document["outcomes"]:
            place = outcome["scenario"], outcome["database"]
            if place not in newest or not is_disturbed(outcome) or is_disturbed(newest[place]):
                newest[place] = {**outcome, "run": document["run"]}
            failed.pop(f"{outcome['scenario']} on {outcome['database']}", None)
    order = list(TITLES)
    outcomes = sorted(newest.values(), key=lambda outcome: (order.index(outcome["scenario"]), outcome["database"]))
    named = {outcome["run"] for outcome in outcomes} | {failure["run"] for failure in failed.values()}
    return {"outcomes": outcomes, "failed": failed, "runs": {name: runs[name] for name in sorted(named)}}


def is_disturbed(outcome: Mapping[str, Any]) -> bool:
    """By others on the same host; nobody knows of runs that did not look."""
    return (outcome.get("stolen") or 0.0) > STOLEN_MOST


def table(shown: dict[str, Any]) -> str:
    """Every figure of what `merged` made, for the terminal."""
    return "\n".join([*_HEAD, *_lines(shown["outcomes"]), "", *_runs(shown)])


def short(shown: dict[str, Any]) -> str:
    """The README's block."""
    on_postgres = [outcome for outcome in shown["outcomes"] if outcome["database"] == "postgres"]
    chosen = [
        (outcome, figure)
        for beginning in TELLING
        for outcome in on_postgres
        for figure in outcome["figures"]
        if figure["name"].startswith(beginning)
    ]
    words = (
        f"`make bench` measures against references in the same minutes, interleaved; raw data in "
        f"[bench/results](bench/results). {_verdict(shown)} All figures, what limits each and how to repeat them: "
        f"[performance]({PAGE})."
    )
    runs = {outcome["run"] for outcome, _ in chosen}
    return "\n".join([words, "", *_HEAD, *(_line(*pair) for pair in chosen), "", *_runs(shown, runs)])


def full(shown: dict[str, Any]) -> str:
    """The page's block: every scenario with its figures, its tables and its notes."""
    parts = [*_runs(shown), "", _verdict(shown)]
    for scenario, title in TITLES.items():
        outcomes = [outcome for outcome in shown["outcomes"] if outcome["scenario"] == scenario]
        if not outcomes:
            continue
        parts += ["", f"### {title}", "", *_HEAD, *_lines(outcomes)]
        for outcome in outcomes:
            for grid in outcome.get("tables", []):
                parts += ["", f"{grid['title']} (run {outcome['run']}):", "", *_grid(grid)]
            notes = [f"- {outcome['database']}: {note}" for note in [*outcome["notes"], *_company(outcome)]]
            parts += ["", *notes] if notes else []
    parts += ["", *(f"- {name} failed: {told['why']} (run {told['run']})" for name, told in shown["failed"].items())]
    return "\n".join(parts).rstrip()


def publish(shown: dict[str, Any], *, readme: bool) -> list[str]:
    """Put the blocks where they belong; returns the names of the files."""
    blocks = {PAGE: full(shown), **({"README.md": short(shown)} if readme else {})}
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


_HEAD = ("| figure | database | median | min to max | target | | run |", "|---|---|---:|---:|---:|---|---|")


def _lines(outcomes: Sequence[dict[str, Any]]) -> list[str]:
    return [_line(outcome, figure) for outcome in outcomes for figure in outcome["figures"]]


def _line(outcome: dict[str, Any], figure: dict[str, Any]) -> str:
    verdict = {True: "met", False: "**missed**", None: ""}[figure["met"]]
    shown = f"{_number(figure['min'])} to {_number(figure['max'])}"
    return (
        f"| {figure['name']} | {outcome['database']} | {_number(figure['median'])} {figure['unit']} | {shown} "
        f"| {figure['target'] or ''} | {verdict} | {outcome['run']} |"
    )


def _grid(shown: dict[str, Any]) -> list[str]:
    def cell(value: Any) -> str:
        return "" if value is None else value if isinstance(value, str) else _number(value)

    marks = ["---:" if all(not isinstance(row[at], str) for row in shown["rows"]) else "---"
             for at in range(len(shown["columns"]))]  # fmt: skip
    rows = [[cell(value) for value in row] for row in shown["rows"]]
    return [f"| {' | '.join(row)} |" for row in (shown["columns"], marks, *rows)]


def _company(outcome: Mapping[str, Any]) -> list[str]:
    share = outcome.get("stolen")
    return [] if share is None else [f"meanwhile the host gave {share:.0%} of this machine's time to others"]


def _verdict(shown: dict[str, Any]) -> str:
    judged = [figure["met"] for outcome in shown["outcomes"] for figure in outcome["figures"] if figure["target"]]
    return f"{sum(judged)} of {len(judged)} targets are met."


def _runs(shown: dict[str, Any], named: Iterable[str] | None = None) -> list[str]:
    """What each run was made on, and how often; then what is true of all."""
    runs = shown["runs"] if named is None else sorted(named)
    return [
        *(f"- run {name}: {_circumstances(shown['runs'][name])}" for name in runs),
        "",
        "PostgreSQL 18 with fsync, Valkey with an everysec log; one worker process unless said otherwise.",
    ]


def _circumstances(run: dict[str, Any]) -> str:
    machine, options = run["machine"], run["options"]
    size = ", small counts" if options["quick"] else ""
    rounds = "one round only" if options["rounds"] == 1 else f"medians of {options['rounds']} interleaved rounds"
    return (
        f"{rounds}{size}, ended {run['at']} at revision {machine['revision']}; {machine['cores']} cores of "
        f"{machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}, "
        f"fdatasync {machine['fdatasync_ms_p50']} ms; raw data: `bench/results/{run['run']}.json`"
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2f}"
