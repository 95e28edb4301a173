"""The heartbeat file of a process without HTTP, and its probe: `python -m shared.runtime.heartbeat --max-age-s 30`.

It says that the process can still act, whether or not Redis or the database answer: a restart would not mend those.
The probe reads one variable and imports nothing of ours: it runs every few seconds beside the work.
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

FILE = "heartbeat"


def touch(state_dir: Path) -> None:
    with contextlib.suppress(OSError):
        (state_dir / FILE).touch()


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
