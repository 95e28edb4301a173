"""The same renditions by Pillow, one process: `python -m bench.peers.pillow FILE webp|avif COUNT`.

With `draft()`, which has libjpeg shrink while it decodes: what somebody who knows Pillow writes. Sizes, qualities and
efforts are those of `bench.media_work`.
"""

import io
import json
import sys
import time

from PIL import Image

SIZES = {"webp": (320, 1280), "avif": (1280,)}
OPTIONS = {"webp": {"quality": 80, "method": 4}, "avif": {"quality": 60, "speed": 6, "max_threads": 1}}


def render(path: str, kind: str) -> int:
    size_bytes = 0
    with Image.open(path) as image:
        largest = max(SIZES[kind])
        image.draft("RGB", (largest, largest))
        shown = image.convert("RGB")
        shown.thumbnail((largest, largest), Image.Resampling.LANCZOS)
        for side in sorted(SIZES[kind], reverse=True):
            made = shown.copy()
            made.thumbnail((side, side), Image.Resampling.LANCZOS)
            out = io.BytesIO()
            made.save(out, kind.upper(), **OPTIONS[kind])
            size_bytes += out.tell()
    return size_bytes


def main() -> None:
    path, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    size_bytes = render(path, kind)
    began = time.process_time()
    for _ in range(count):
        render(path, kind)
    cpu_ms = (time.process_time() - began) * 1000 / count
    sys.stdout.write(json.dumps({"cpu_ms": cpu_ms, "size_bytes": size_bytes}) + "\n")


if __name__ == "__main__":
    main()
