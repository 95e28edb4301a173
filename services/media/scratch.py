"""A worker's own folder for temporary files, and the end of those that dead workers have left.

Owns `holdfast-media-*` below the system's temporary folder. Calls make their folders within it and remove them, however
their slot ended; what a killed worker leaves goes with the next worker that starts on the same disk. Invariant: a
folder whose lock is held is somebody's, and is not touched; the kernel gives a lock up with its process, not before.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

PREFIX = "holdfast-media-"
LOCK = ".lock"


class Scratch(NamedTuple):
    """`lock` is a descriptor that stays open for as long as the folder is this process' own."""

    folder: Path
    lock: int
    before: str | None

    def leave(self) -> None:
        _use(self.before)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


def move_in(base: Path | None = None) -> Scratch:
    """Sweep, make a folder and have all temporary files of this process and of its children made there."""
    base = base or Path(tempfile.gettempdir())
    sweep(base)
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
    lock = os.open(made / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = made.rename(base / made.name[1:])  # from now on sweeps see it, and its lock
    before = os.environ.get("TMPDIR")
    _use(str(folder))
    return Scratch(folder, lock, before)


def _use(folder: str | None) -> None:
    tempfile.tempdir = folder  # None: it is looked for again
    if folder is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = folder


def sweep(base: Path) -> int:
    """Remove what nobody holds any more; how many folders. What cannot be removed stays."""
    gone = 0
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another worker's, another user's, or being made at this moment
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                gone += 1
            finally:
                os.close(lock)
    return gone
