"""`python -m bench [names…] [--rounds N] [--quick]`: measure, print the table, keep the raw data.

Without names all scenarios on PostgreSQL, and those of `ON_SQLITE` on SQLite as well. A scenario that fails or takes
too long costs the exit code, not the others. `plots` draws the newest outcome of each scenario, whichever run it is of,
and writes the page on performance, `publish` the README as well. Ends by itself, and ends everything that it started,
whatever happens.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import machine, report, venv
from bench.figures import Outcome
from bench.scale import Scale, scale
from bench.scenarios import (
    Run,
    accept,
    anatomy,
    burden,
    crowd,
    deliveries,
    depths,
    drain,
    flat,
    hanging,
    history,
    idle,
    latency,
    media,
    peers,
    rotation,
    saturation,
    spread,
    urgent,
    workers,
)
from bench.stage import Kind, Stage
from shared.kernel import logs

SCENARIOS: dict[str, Run] = {
    "deliveries": deliveries.run,
    "anatomy": anatomy.run,
    "crowd": crowd.run,
    "hanging": hanging.run,
    "drain": drain.run,
    "accept": accept.run,
    "latency": latency.run,
    "flat": flat.run,
    "spread": spread.run,
    "rotation": rotation.run,
    "depths": depths.run,
    "saturation": saturation.run,
    "workers": workers.run,
    "idle": idle.run,
    "history": history.run,
    "peers": peers.run,
    "burden": burden.run,
    "urgent": urgent.run,
    "media": media.run,
}
SCENARIO_S = 900.0  # no scenario may hold up the others
ON_SQLITE = ("deliveries", "drain", "latency")
console = Console(stderr=True)


def main() -> int:
    given = _arguments()
    if given.table or given.names in (["plots"], ["publish"]):
        return _show(given)
    names = given.names or list(SCENARIOS)
    plan: list[tuple[str, Kind]] = [(name, "postgres") for name in names if given.database != "sqlite"]
    plan += [(name, "sqlite") for name in names if name in ON_SQLITE and given.database != "postgres"]
    logs.configure("WARNING")
    chosen = scale(rounds=given.rounds, quick=given.quick)
    options = {"rounds": given.rounds, "quick": given.quick, "scale": vars(chosen)}
    path = report.fresh()
    stage = Stage()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: with everything that it started
    failed = True
    try:
        stage.open()
        facts = machine.describe(stage.folder)
        keep = partial(report.write, path, machine=facts, options=options)
        failed = uvloop.run(_measure(stage, chosen, plan, keep))
    finally:
        stage.close(keep=failed)
    if path.exists():
        print(report.table(report.merged([report.read(path)])))
    return 1 if failed else 0


def _show(given: argparse.Namespace) -> int:
    shown = report.merged(report.read(path) for path in given.results or report.published())
    if not shown["outcomes"]:
        print("there are no results yet: run `make bench`", file=sys.stderr)
        return 2
    if given.table:
        print(report.table(shown))
        return 0
    if reason := venv.ensure():
        print(f"no plots: {reason}", file=sys.stderr)
        return 2
    with tempfile.NamedTemporaryFile(suffix=".json") as handed:
        handed.write(orjson.dumps(shown, option=orjson.OPT_NON_STR_KEYS))
        handed.flush()
        command = (venv.python(), "-m", "bench.plots", handed.name, str(report.ROOT / "docs" / "img"))
        subprocess.run(command, check=True, cwd=report.ROOT)
    print(", ".join(report.publish(shown, readme=given.names == ["publish"])))
    return 0


async def _measure(
    stage: Stage, chosen: Scale, plan: list[tuple[str, Kind]], keep: Callable[[list[Outcome], dict[str, str]], None]
) -> bool:
    """True when a scenario failed; the others have run all the same."""
    outcomes: list[Outcome] = []
    failed: dict[str, str] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    # Drawn rarely: what is measured shares these cores.
    with Progress(*columns, console=console, refresh_per_second=1) as progress:
        total = progress.add_task("bench", total=len(plan))
        for name, kind in plan:

            def step(words: str, title: str = f"{name} on {kind}") -> None:
                progress.update(total, description=f"{title}: {words}")

            step("starting")
            began, stolen = time.monotonic(), machine.Stolen()
            try:
                async with asyncio.timeout(SCENARIO_S):
                    outcome = await SCENARIOS[name](stage, chosen, kind, step)
                outcome.seconds, outcome.stolen = round(time.monotonic() - began, 1), stolen.share()
                outcomes.append(outcome)
            except Exception as error:
                failed[f"{name} on {kind}"] = f"{type(error).__name__}: {error}"
                console.print(f"{name} on {kind} failed:\n{traceback.format_exc()}", markup=False)
                await asyncio.to_thread(stage.sweep)
            keep(outcomes, failed)
            progress.advance(total)
    return bool(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="measure Holdfast against references")
    parser.add_argument(
        "names", nargs="*", choices=[*SCENARIOS, "plots", "publish", []], metavar="name", help=", ".join(SCENARIOS)
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each scenario (5)")
    parser.add_argument("--quick", action="store_true", help="small numbers: to see a change, not to publish")
    parser.add_argument("--database", choices=("postgres", "sqlite", "both"), default="both")
    parser.add_argument("--table", action="store_true", help="print the newest results as Markdown, measure nothing")
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="whose newest figures to show (all but quick runs)",
    )
    given = parser.parse_args()
    if len(given.names) > 1 and {"plots", "publish"} & set(given.names):
        parser.error("plots and publish show what was measured: they stand alone")
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    return given


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
