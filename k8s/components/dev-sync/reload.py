"""`python reload.py COMMAND…`: runs a command, and again when a .py file under the working directory has changed.

For `skaffold dev`. SIGTERM and SIGINT go to the command, and its end is then this process's end, with its exit code. A
changed role is told to end (SIGTERM) and drains first. One that ends by itself, as by a slip in what was just saved, is
started again when a file changes, or after AGAIN_S: were the container to end with it, the correction could not be
synchronised into it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

LOOK_S = 0.5
DRAIN_S = 40
AGAIN_S = 10.0


def state_of(folder: Path) -> dict[str, int]:
    found = {}
    for path in folder.rglob("*.py"):
        with contextlib.suppress(FileNotFoundError):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def settled(folder: Path, state: dict[str, int]) -> dict[str, int]:
    """The state once two looks agree: a synchronisation writes many files."""
    while True:
        time.sleep(LOOK_S)
        if (now := state_of(folder)) == state:
            return state
        state = now


def end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(DRAIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def changed(folder: Path, state: dict[str, int], told: threading.Event) -> dict[str, int]:
    """The state once a file has changed, or AGAIN_S are over, or one is told to end."""
    until = time.monotonic() + AGAIN_S
    while not told.is_set() and time.monotonic() < until:
        time.sleep(LOOK_S)
        if (now := state_of(folder)) != state:
            return settled(folder, now)
    return state


def main(command: list[str]) -> int:
    folder, told = Path.cwd(), threading.Event()
    child: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: object) -> None:
        told.set()
        if child is not None and child.poll() is None:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    state, code = state_of(folder), 0
    while not told.is_set():
        child = subprocess.Popen(command, env=os.environ)
        if told.is_set():  # just before there was one to tell
            child.terminate()
        while child.poll() is None:
            time.sleep(LOOK_S)
            if not told.is_set() and (now := state_of(folder)) != state:
                state = settled(folder, now)
                sys.stderr.write("reload: a file has changed, starting again\n")
                end(child)
                break
        else:
            code = child.returncode if child.returncode >= 0 else 128 - child.returncode
            if not told.is_set():
                sys.stderr.write(f"reload: it has ended with {code}, and starts again when a file changes\n")
                state = changed(folder, state, told)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
