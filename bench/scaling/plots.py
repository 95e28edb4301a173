"""Draws the simulated runs as SVG: `.venv-peers/bin/python -m bench.scaling.plots <runs.json> <folder>`.

Backlog, pods and the age of the oldest job that waits, under what arrived; the same runs give the same bytes.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.plots import LOOKS

_DECIMALS = re.compile(r"(\d\.\d\d)\d+")
COLOURS = ("#1f6feb", "#d1603d")
ROWS = (("backlog", "backlog"), ("replicas", "pods"), ("oldest_s", "oldest waits, s"))


def draw(run: dict[str, Any], path: Path) -> None:
    with mpl.rc_context({**LOOKS, "font.size": 8, "svg.hashsalt": run["name"]}):
        figure, all_axes = plt.subplots(4, 1, figsize=(7, 5.2), sharex=True, height_ratios=(0.6, 1, 1, 1))
        minutes = [at * run["stride"] / 60 for at in range(len(run["arrived"]))]
        all_axes[0].fill_between(minutes, run["arrived"], color="#b9bec6", linewidth=0, step="post")
        all_axes[0].set(ylabel="arrive /s", ylim=(0, None), title=run["title"])
        for axes, (name, words) in zip(all_axes[1:], ROWS, strict=True):
            for (side, values), colour in zip(run["runs"].items(), COLOURS, strict=False):
                style = "steps-post" if name == "replicas" else "default"
                axes.plot(minutes, values[name], color=colour, label=side, linewidth=1.4, drawstyle=style)
            axes.set(ylabel=words, ylim=(0, None))
        all_axes[-1].set_xlabel("minutes")
        all_axes[1].legend(frameon=False, fontsize=7)
        figure.align_ylabels()
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    # A hundredth of a point is finer than anybody sees, and half of the bytes.
    lines = (_DECIMALS.sub(r"\1", line).rstrip() for line in path.read_text().splitlines())
    path.write_text("".join(f"{line}\n" for line in lines))


def main(runs: Path, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for run in json.loads(runs.read_text()):
        path = folder / f"scaling-{run['name']}.svg"
        draw(run, path)
        names.append(path.name)
    return names


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
