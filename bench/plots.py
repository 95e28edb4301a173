"""Draws a results document as SVG: `.venv-peers/bin/python -m bench.plots <results.json> <folder>`.

The same results give the same bytes: no date, no version, no random ids; text stays text. What the document does not
hold is not drawn. Prints the names of what it has written as JSON.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.curves import backlog_points, latency_curves, peer_bars, rotation_points

COLOURS = ("#8a8f98", "#1f6feb", "#0a2f6b", "#c9b458", "#d1603d", "#7a1f0a")
DURABLE, VOLATILE = "#1f6feb", "#b9bec6"
LOOKS = {
    "svg.hashsalt": "holdfast", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e5e8",
    "axes.axisbelow": True, "figure.facecolor": "white", "savefig.bbox": "tight",
}  # fmt: skip
SHARES = (0.5, 0.9, 0.99, 0.999)


def latency(document: dict[str, Any], axes: Any) -> bool:
    """Log by the distance to all: half, one in ten, one in a hundred, one in a thousand stand equally far apart."""
    curves = latency_curves(document)
    for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
        kept = [(1 / (1 - share), ms) for share, ms in points if 0.01 <= share < 1]
        axes.plot(*zip(*kept, strict=True), label=name, color=colour, linewidth=1.8)
    axes.set(xscale="log", yscale="log", xlabel="share of jobs that were faster", ylabel="ms from the intended start")
    axes.set_xticks([1 / (1 - share) for share in SHARES], [f"{share * 100:g} %" for share in SHARES])
    axes.xaxis.set_minor_locator(plt.NullLocator())
    if curves:
        _legend(axes)
    return bool(curves)


def backlog(document: dict[str, Any], axes: Any) -> bool:
    axes.set_xscale("symlog", linthresh=1_000)
    axes.set(xlabel="jobs waiting behind (log)", ylabel="µs a job, a hundred at a time")
    return _against(backlog_points(document), axes)


def rotation(document: dict[str, Any], axes: Any) -> bool:
    axes.set(xscale="log", xlabel="who take turns (log)", ylabel="µs of CPU a job, relay and backends")
    return _against(rotation_points(document), axes)


def peers(document: dict[str, Any], axes: Any) -> bool:
    bars = peer_bars(document)[::-1]
    for at, (_, median, least, most, durable) in enumerate(bars):
        axes.barh(at, median, color=DURABLE if durable else VOLATILE, height=0.65)
        axes.plot([least, most], [at, at], color="#22252a", linewidth=1.2)
        axes.text(max(median, most), at, f"  {median:,.0f}", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("no-op jobs a second, one worker process (blue: to the committed completion in PostgreSQL)")
    return bool(bars)


def _against(series: dict[str, list[tuple[int, float, float, float]]], axes: Any) -> bool:
    """Lines of medians, with what lies between the least and the most."""
    for (name, points), colour in zip(series.items(), COLOURS[1:], strict=False):
        counts, medians, least, most = zip(*points, strict=True)
        axes.plot(counts, medians, label=name, color=colour, marker="o", linewidth=1.8)
        axes.fill_between(counts, least, most, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(0, None)
    if series:
        marks = [count for count, *_ in next(iter(series.values()))]
        axes.set_xticks(marks, [f"{mark:,}" for mark in marks])
        axes.xaxis.set_minor_locator(plt.NullLocator())
        _legend(axes)
    return bool(series)


def _legend(axes: Any) -> None:
    """Below, where no line is."""
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.16))


def main(results: Path, folder: Path) -> list[str]:
    document = json.loads(results.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[str] = []
    pictures: dict[str, Callable[[dict[str, Any], Any], bool]] = {
        "latency": latency,
        "backlog": backlog,
        "rotation": rotation,
        "peers": peers,
    }
    for name, draw in pictures.items():
        with mpl.rc_context(LOOKS):
            figure, axes = plt.subplots(figsize=(8, 4.2))
            if draw(document, axes):
                path = folder / f"{name}.svg"
                figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
                # Lines end where they end: an editor would strip what the writer leaves behind them.
                path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))
                drawn.append(path.name)
            plt.close(figure)
    return drawn


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
