"""The two files of a process without HTTP, and the probe of one: `python -m shared.runtime.heartbeat --max-age-s 30`.

`heartbeat` says by its age that the process can still act, whether or not Redis or the database answer: a restart
would not mend those. `ready` is there while the process takes work, which asks for a schema that fits its code: until
a new one has it, a rollout leaves the old ones where they are. An outage does not take it away.
The probe reads one variable and imports nothing of ours: it runs every few seconds beside the work.
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

FILE = "heartbeat"
READY = "ready"
AGAIN_S = 5.0  # another process of the same folder may have taken the file away


def touch(state_dir: Path) -> None:
    with contextlib.suppress(OSError):
        (state_dir / FILE).touch()


class ReadyFile:
    """`show` may be called as often as one likes: the folder is touched when the answer changes, and now and then."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / READY
        self._shown: bool | None = None
        self._until_s = 0.0

    def show(self, ready: bool) -> None:
        now_s = time.monotonic()
        if ready == self._shown and now_s < self._until_s:
            return
        self._shown, self._until_s = ready, now_s + AGAIN_S
        with contextlib.suppress(OSError):
            if ready:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="exit 0 if the heartbeat file is young enough")
    parser.add_argument("--max-age-s", type=float, default=30.0)
    wanted = parser.parse_args().max_age_s
    path = Path(os.environ.get("HOLDFAST_STATE_DIR", ".holdfast/state")) / FILE
    try:
        age_s = time.time() - path.stat().st_mtime
    except OSError as error:
        sys.stderr.write(f"no heartbeat: {error}\n")
        return 1
    if age_s > wanted:
        sys.stderr.write(f"the heartbeat is {age_s:.0f} s old, at most {wanted:.0f} s are allowed\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
