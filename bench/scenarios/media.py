"""Pictures of 12 megapixels through the media pool, beside a bare multiprocessing loop and Pillow; films beside ffmpeg.

The loop has the same code and nothing around it: no deadline, no filter, no second process to ask. Pillow is asked for
the same sizes, in the same run, one process each. Slots are killed, and calls run out of time, while pictures are made.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from bench import venv
from bench.figures import Figure, Outcome, column
from bench.scale import Scale
from bench.scenarios import Step
from bench.stage import Kind, Stage

WORK, FILM, PILLOW = "bench.media_work", "bench.media_film", "bench.peers.pillow"
KINDS = {"webp": "WebP 320 and 1280", "avif": "AVIF 1280"}
AVIF_SHARE = 4  # AVIF costs so much more: so many fewer of them


async def run(stage: Stage, scale: Scale, kind: Kind, step: Step) -> Outcome:
    slots = str(len(os.sched_getaffinity(0)))
    picture, film = stage.folder / "picture.jpg", stage.folder / "film.mp4"
    await stage.tool(WORK, "source", "--source", str(picture))
    missing = {"pillow": venv.ensure(), "ffmpeg": None if shutil.which("ffmpeg") else "there is no ffmpeg here"}
    if missing["ffmpeg"] is None:
        await stage.tool(FILM, "make", str(film))
    rounds: list[dict[str, Any]] = []
    for number in range(scale.rounds):
        step(f"round {number + 1} of {scale.rounds}")
        row = await _pictures(stage, picture, scale.pictures, slots, number)
        row["ours"], row["pillow"] = {}, {}
        for name in KINDS:
            total = scale.pictures // (AVIF_SHARE if name == "avif" else 1)
            row["ours"][name] = await _work(stage, "cpu", picture, total // 2, slots, name)
            if missing["pillow"] is None:
                row["pillow"][name] = await stage.tool(
                    PILLOW, str(picture), name, str(total // 2), python=venv.python()
                )
        row["back"] = await _work(stage, "kills", picture, scale.slot_kills, slots)
        row["late"] = await _work(stage, "deadlines", picture, scale.slot_kills, slots)
        if missing["ffmpeg"] is None:
            row["film"] = {what: await stage.tool(FILM, what, str(film)) for what in ("slot", "cli")}
        rounds.append(row)
    notes = [f"left out: {name}: {why}" for name, why in missing.items() if why]
    notes.append(f"{slots} slots")
    return Outcome("media", kind, "no database: files in, files out", _figures(rounds, missing), rounds, notes)


async def _pictures(stage: Stage, picture: Path, pictures: int, slots: str, number: int) -> dict[str, Any]:
    """Loop and pool in turns, so that neither is always the second."""
    row: dict[str, Any] = {"bare": {}, "pool": {}}
    for name in KINDS:
        total = pictures // (AVIF_SHARE if name == "avif" else 1)
        for side in ("bare", "pool") if number % 2 == 0 else ("pool", "bare"):
            row[side][name] = await _work(stage, side, picture, total, slots, name)
    row["ratio"] = {name: row["pool"][name]["rate"] / row["bare"][name]["rate"] for name in KINDS}
    return row


async def _work(stage: Stage, what: str, picture: Path, total: int, slots: str, kind: str = "webp") -> Any:
    given = ("--source", str(picture), "--kind", kind, "--total", str(max(1, total)), "--slots", slots)
    return await stage.tool(WORK, what, *given)


def _figures(rounds: list[dict[str, Any]], missing: dict[str, str | None]) -> list[Figure]:
    figures = [
        *(Figure(f"media: pool ÷ bare loop, 12 MP JPEG → {words}", column(rounds, "ratio", name), "times", ">=", 0.98)
          for name, words in KINDS.items()),
        *(Figure(f"media: pictures, 12 MP JPEG → {words}", column(rounds, "pool", name, "rate"), "/s")
          for name, words in KINDS.items()),
        Figure("media: CPU of the pool's process", column(rounds, "pool", "webp", "parent_cpu_ms"), "ms/picture", "<="),
        *(Figure(f"media: peak memory of a slot, 12 MP JPEG → {words}", column(rounds, "pool", name, "peak_mb"), "MB",
                 "<=") for name, words in KINDS.items()),
        Figure("media: a killed slot is back, p99", column(rounds, "back", "p99"), "ms", "<=", 100),
        Figure("media: a call past its deadline, p99", column(rounds, "late", "p99"), "ms", "<=", 100),
        *(Figure(f"media: CPU, 12 MP JPEG → {words}", column(rounds, "ours", name, "cpu_ms"), "ms", "<=")
          for name, words in KINDS.items()),
    ]  # fmt: skip
    if missing["pillow"] is None:
        for name, words in KINDS.items():
            ratios = [row["ours"][name]["cpu_ms"] / row["pillow"][name]["cpu_ms"] for row in rounds]
            figures.append(Figure(f"media: CPU ÷ Pillow, 12 MP JPEG → {words}", ratios, "times", "<=", 1.0))
    if missing["ffmpeg"] is None:
        for what in ("seconds", "cpu_s"):
            ratios = [row["film"]["slot"][what] / row["film"]["cli"][what] for row in rounds]
            label = "time" if what == "seconds" else "CPU"
            figures.append(Figure(f"media: {label} ÷ ffmpeg, 1080p → H.264 720p", ratios, "times", "<=", 1.1))
    return figures
