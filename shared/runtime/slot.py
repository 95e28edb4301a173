"""A slot: a kernel lock on a file of the state directory, which frees itself the moment its holder dies.

Whoever gets the lock knows that the predecessor is dead, and only then may declare it so at once: the file says which
incarnation that was. A process that ends cleanly empties the file, so a clean end is never taken for a crash.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Slot:
    number: int
    predecessor: str | None
    _descriptor: int

    def occupy(self, incarnation: str) -> None:
        self._write(incarnation.encode())

    def vacate(self) -> None:
        """Say that the holder has ended its work; the lock itself goes with the process."""
        self._write(b"")

    def release(self) -> None:
        os.close(self._descriptor)

    def _write(self, content: bytes) -> None:
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))


def try_slot(folder: Path, queue: str, slots: int) -> Slot | None:
    """The first free slot of the queue on this host, or None: all are held, and one may wait to succeed a holder.

    POSIX record locks, because a child that a handler forked must not inherit them; they are lost when the process
    closes any descriptor of the file, so each file is opened here only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(slots):
        descriptor = os.open(folder / f"{queue}-{number}.slot", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        content = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        return Slot(number, content or None, descriptor)
    return None
