"""`python -m bench.scaling`: simulate every curve with the manifests' values, draw it, write the page; print the plan.

`--manifests FOLDER` takes the scalers from elsewhere; `--plan PEAK [--latency-s S]` answers for one load only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import report, venv
from bench.scaling import manifests, page, plan, rates, scenarios


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description="what autoscaling makes of a load")
    parser.add_argument("--manifests", type=Path, default=manifests.FOLDER, help="where autoscale-* are")
    parser.add_argument("--plan", type=float, metavar="PEAK", help="deliveries a second: print what they need, as JSON")
    parser.add_argument("--mean", type=float, help="of the day (a third of the peak)")
    parser.add_argument("--latency-s", type=float, default=scenarios.LATENCY_S, help="of an endpoint")
    given = parser.parse_args()
    try:
        measured, slots = rates.read(), manifests.slots_of("webhooks-worker")
        if given.plan is not None:
            load = plan.Load("asked", given.plan, given.mean or given.plan / page.PEAK, latency_s=given.latency_s)
            print(json.dumps({**vars(found := plan.plan(load, measured, slots)), "load": vars(found.load)}))
            return 0
        shown = scenarios.run(measured, given.manifests)
    except (FileNotFoundError, ValueError) as wrong:
        print(f"nothing is simulated: {wrong}", file=sys.stderr)
        return 2
    block = page.block(shown, measured, slots)
    print(block)
    if reason := venv.ensure():
        print(f"no plots, and the page stays as it is: {reason}", file=sys.stderr)
        return 2
    with tempfile.NamedTemporaryFile("w", suffix=".json") as handed:
        json.dump(scenarios.drawable(shown), handed)
        handed.flush()
        command = (venv.python(), "-m", "bench.scaling.plots", handed.name, str(report.ROOT / "docs" / "img"))
        subprocess.run(command, check=True, cwd=report.ROOT, stdout=subprocess.DEVNULL)
    path = report.ROOT / page.PAGE
    path.write_text(report.between(path.read_text("utf-8"), block), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
