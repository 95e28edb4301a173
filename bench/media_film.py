"""One film to H.264 at 720p, in a slot and by the ffmpeg CLI: `python -m bench.media_film make|slot|cli FILE`."""

import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import orjson
import pyvips
from av.video.frame import VideoFrame

from bench.cpu import spent_us
from services.media.films.presets import MP4_720
from services.media.pool import Pool
from services.media.presets import PresetSet

SECONDS, FPS, SIDES = 8, 25, (1920, 1080)


def make(path: Path) -> dict[str, Any]:
    """Shapes that move over a pattern, as H.264 of 1080p."""
    width, height = SIDES
    shapes = pyvips.Image.perlin(width, height, cell_size=120, uchar=True)
    pattern = shapes.bandjoin([shapes.rot180(), shapes.flip("horizontal")]).copy_memory()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(SECONDS * FPS):
            frame = VideoFrame(width, height, "rgb24")
            frame.planes[0].update(pattern.wrap(x=width - 3 * number, y=number).write_to_memory())
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return {"size_bytes": path.stat().st_size}


async def slot(path: Path) -> dict[str, float]:
    pool = Pool(1, required=("seccomp",))
    await pool.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            args = {"source": str(path), "directory": folder, "presets": PresetSet("f", video=(MP4_720,)).wire()}
            before = spent_us(pool.pids())
            began = time.perf_counter()
            await pool.run("renditions", args, timeout_s=300)
            return {"seconds": time.perf_counter() - began, "cpu_s": (spent_us(pool.pids()) - before) / 1e6}
    finally:
        await pool.close()


def cli(path: Path) -> dict[str, float]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise FileNotFoundError("there is no ffmpeg here")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            program, "-v", "error", "-i", str(path), "-vf", "scale=-2:720", "-c:v", "libx264", "-preset",
            MP4_720.speed, "-crf", str(MP4_720.crf), "-maxrate", f"{MP4_720.rate_kbps}k", "-bufsize",
            f"{2 * MP4_720.rate_kbps}k", "-pix_fmt", "yuv420p", "-movflags", "+faststart", f"{folder}/out.mp4",
        ]  # fmt: skip
        began = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"seconds": time.perf_counter() - began, "cpu_s": used.ru_utime + used.ru_stime}


if __name__ == "__main__":
    what, file = sys.argv[1], Path(sys.argv[2])
    told = make(file) if what == "make" else asyncio.run(slot(file)) if what == "slot" else cli(file)
    sys.stdout.write(orjson.dumps(told).decode() + "\n")
