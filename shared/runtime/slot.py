"""A slot: a kernel lock on a file of the state directory, which frees itself the moment its holder dies.

Whoever gets the lock knows that the predecessor is dead, and only then may declare it so at once: the file says which
incarnation that was. A process that ends cleanly empties the file, so a clean end is never taken for a crash.

A holder that is stopped keeps its lock. Once the ledger has declared its incarnation dead, a standby may `take_over`:
the name gets a new file, and the old holder, should it come back, finds that its slot `is_taken`.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.db.locks import lock_file


@dataclass
class Slot:
    number: int
    predecessor: str | None
    _path: Path
    _descriptor: int

    def occupy(self, incarnation: str) -> None:
        self._write(incarnation.encode())

    def vacate(self) -> None:
        """Say that the holder has ended its work; the lock itself goes with the process."""
        self._write(b"")

    def release(self) -> None:
        os.close(self._descriptor)

    @property
    def is_taken(self) -> bool:
        """The name leads to another file by now: somebody took over while this process was stopped."""
        return not _same(self._path, self._descriptor)

    def _write(self, content: bytes) -> None:
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))


def try_slot(folder: Path, queue: str, slots: int) -> Slot | None:
    """The first free slot of the queue on this host, or None: all are held, and one may wait to succeed a holder.

    POSIX record locks, because a child that a handler forked must not inherit them; they are lost when the process
    closes any descriptor of the file, so only a process without a slot opens these files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _turn(folder) as mine:
        for number in range(slots if mine else 0):
            path = folder / f"{queue}-{number}.slot"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if lock_file(descriptor):
                return Slot(number, _content(descriptor), path, descriptor)
            os.close(descriptor)
    return None


def holders(folder: Path, queue: str, slots: int) -> dict[int, str]:
    """The incarnation that each held slot names. For processes that hold none: see `try_slot`."""
    named: dict[int, str] = {}
    for number in range(slots):
        try:
            content = (folder / f"{queue}-{number}.slot").read_text(errors="replace").strip()
        except FileNotFoundError:
            continue
        if content:
            named[number] = content
    return named


def take_over(folder: Path, queue: str, number: int, holder: str) -> Slot | None:
    """The slot of a holder that the ledger has declared dead; None when the slot names another one by now."""
    path = folder / f"{queue}-{number}.slot"
    with _turn(folder) as mine:
        if not mine or holders(folder, queue, number + 1).get(number) != holder:
            return None
        path.unlink()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody else knows the file yet
        return Slot(number, holder, path, descriptor)


@contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    """One process at a time changes which file a slot is; False when it is another's turn, and one tries again soon."""
    descriptor = os.open(folder / "slots.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> str | None:
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or None


def _same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
