"""The SQLite file: there, on a disk of this machine with room, both of which its log needs."""

import asyncio
import shutil
from pathlib import Path

from shared.db.engine import sqlite_path
from shared.runtime.doctor.finding import Finding, Level, judged, size
from shared.runtime.doctor.subject import Subject

MIB = 1024 * 1024
LEAST_BYTES, WANTED_BYTES = 64 * MIB, 512 * MIB
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})


async def examine(subject: Subject) -> list[Finding]:
    url = subject.settings.database_url
    return await asyncio.to_thread(_look, sqlite_path(url)) if url.startswith("sqlite") else []


def _look(path: Path) -> list[Finding]:
    if not path.parent.is_dir():
        return [Finding("sqlite disk", "fail", f"no folder {path.parent}", "a folder", "make it, or correct the URL")]
    held = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.parent).free
    kind = _kind_of(path.parent.resolve(), Path("/proc/self/mounts").read_text())
    return [judge_room(held, free), judge_kind(kind)]


def judge_room(held_bytes: int, free_bytes: int) -> Finding:
    """A checkpoint of the log and a copy for a backup want as much again as the file has. Pure."""
    wanted = max(WANTED_BYTES, held_bytes)
    level: Level = "fail" if free_bytes < LEAST_BYTES else "warn" if free_bytes < wanted else "ok"
    found = f"{size(free_bytes)} free, the file has {size(held_bytes)}"
    return judged("sqlite disk", level, found, f"{size(wanted)} free", "make room, or move to PostgreSQL")


def judge_kind(kind: str) -> Finding:
    level: Level = "fail" if kind in NETWORK else "ok"
    fix = "move the file to a disk of this machine, or to PostgreSQL: its log needs memory that processes share"
    return judged("sqlite file system", level, kind, "a local one", fix)


def _kind_of(folder: Path, mounts: str) -> str:
    """The type of the file system with the longest mount point above `folder`."""
    fields = [line.split() for line in mounts.splitlines()]
    found = [(len(at), kind) for _, at, kind, *_ in fields if folder.is_relative_to(at)]
    return max(found)[1] if found else "unknown"
