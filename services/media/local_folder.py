"""What a storage in a local directory takes besides obstore: its root, what lies in it, and its end; all synchronous.

Owns nothing but the paths under one root: callers run these in a thread, never on the event loop. The invariant: what
is flushed outlives a power failure, name and bytes; folders that have become empty go with their last file, the root
never does. Follows no symbolic links, and refuses nothing: keys were checked by who made them.
"""

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_root(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else url).expanduser().absolute()


def fsync(root: Path, key: str) -> None:
    """The file's bytes, and its name: the folder that holds it, and those above, which may be new."""
    path = root / key
    for each in (path, *path.parents[: key.count("/") + 1]):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def names_in(top: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def files_in(folder: Path) -> dict[str, float]:
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(folder))] = path.stat().st_mtime
    return found


def unlink(root: Path, keys: Sequence[str]) -> None:
    for key in keys:
        path = root / key
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or gone
            for parent in itertools.takewhile(lambda parent: parent != root, path.parents):
                parent.rmdir()
