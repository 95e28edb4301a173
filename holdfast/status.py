"""What runs: the processes of each role of the local system, found where they are, not remembered from the start.

A worker's pid is that of the process that runs jobs (its launcher and its standby are not), read from its slot.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.place import Place
from shared.contracts.commands import QUEUES, service_of

_SLOT_MARK = "services.media.slots.forker"


def read_status(place: Place) -> dict[str, Any]:
    """{base_url, api_key, redis_url, database_url, roles: [{name, pids}]}; raises Misconfigured when nothing runs."""
    status = place.read_status()
    launchers: dict[str, int] = status["roles"]
    roles = [{"name": name, "pids": [pid]} for name, pid in launchers.items() if not name.endswith("-worker")]
    for queue in QUEUES:
        pids = active_workers(place, queue)
        roles.append({"name": f"{queue}-worker", "pids": pids})
        if service_of(queue) == "media":
            slots = [slot for pid in pids for slot in media_slots(pid)]
            roles.append({"name": f"{queue}-slot", "pids": slots})
    kept = {name: status[name] for name in ("base_url", "api_key", "redis_url", "database_url", "mail", "logs")}
    return {**kept, "roles": sorted(roles, key=lambda role: str(role["name"]))}


def active_workers(place: Place, queue: str, state_dir: Path | None = None) -> list[int]:
    """Who holds the kernel locks of the queue's slots."""
    slots = (state_dir or place.state_dir) / "slots"
    inodes = {str(file.stat().st_ino) for file in slots.glob(f"{queue}-[0-9]*.slot")}
    held = []
    for line in Path("/proc/locks").read_text().splitlines():
        parts = line.split()
        if len(parts) >= 6 and parts[1] == "POSIX" and parts[3] == "WRITE" and parts[5].rsplit(":", 1)[-1] in inodes:
            held.append(int(parts[4]))
    return sorted(held)


def media_slots(worker_pid: int) -> list[int]:
    """The children of the worker's forker are its slots."""
    forkers = [pid for pid in children(worker_pid) if _SLOT_MARK in command_line(pid)]
    return sorted(slot for forker in forkers for slot in children(forker))


def children(pid: int) -> list[int]:
    return list(_children(pid))


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from (int(part) for part in task.read_text().split())
        except OSError:
            continue


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
