"""`holdfast up` as a person starts it: a process of its own on SQLite, a free port and a data directory; and its ends.

`the_system()` is one for the whole run, for every test that does not end it; it stops when the run does.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from holdfast.place import Place
from holdfast.status import children, read_status
from shared.db.engine import Database
from shared.db.tx import open_tx
from shared.runtime.callers import create_key
from shared.testing.servers import free_port

READY_S = 90.0  # an idle machine needs five
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Up:
    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        patient = {"HOLDFAST_TX_CAP_S": "15"}  # a machine that stalls for a second is no defect of what is tested
        self.env = {**kept, **patient, "HOLDFAST_DATA_DIR": str(folder), **settings}
        self.process: subprocess.Popen[str] | None = None
        self.keys: dict[tuple[str, str], str] = {}

    def start(self) -> Up:
        """Until it says that every role is ready."""
        folder = self.folder.with_name(self.folder.name + ".err")
        with folder.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "holdfast.cli", "up", "--port", str(self.port)],
                env=self.env, stdout=subprocess.DEVNULL, stderr=err, text=True, start_new_session=True,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        wait_until(lambda: "ready: " in folder.read_text() or self.process.poll() is not None, "ready", READY_S)
        assert self.process.poll() is None, folder.read_text()
        return self

    def status(self) -> dict[str, Any]:
        """What `holdfast status --json` prints."""
        return read_status(Place(self.folder))

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "holdfast.cli", *words]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    @functools.cached_property
    def known(self) -> dict[str, Any]:
        """What the status said first; addresses and the key do not change."""
        return self.status()

    def client(self, tenant: str = "", *scopes: str, **options: Any) -> httpx.Client:
        """Asks with the local key, or as a tenant with these scopes (all, unless named)."""
        key = self.key(tenant, *scopes) if tenant else self.known["api_key"]
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=30, **options)

    def key(self, tenant: str, *scopes: str) -> str:
        wanted = (tenant, " ".join(scopes))
        if wanted not in self.keys:
            self.keys[wanted] = asyncio.run(self._make_key(tenant, scopes or ("*",)))
        return self.keys[wanted]

    async def _make_key(self, tenant: str, scopes: tuple[str, ...]) -> str:
        database = Database(self.known["database_url"], pool=2)
        try:
            async with open_tx(database) as tx:
                return (await create_key(tx, name="test", tenant=tenant, scopes=scopes))[1]
        finally:
            await database.close()

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        import sqlite3

        path = self.known["database_url"].removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as file:
            return file.execute(query, values).fetchall()

    def pids(self) -> list[int]:
        """Everything below the supervisor, servers included."""
        assert self.process is not None
        return descendants(self.process.pid)

    def stop(self, signum: int = signal.SIGINT, limit_s: float = 60.0) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(limit_s)


@functools.cache
def the_system() -> Up:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-e2e-"))
    # A model that nobody serves: its jobs are accepted, and tried again.
    up = Up(folder / "data", HOLDFAST_DRAIN_LIMIT_S="3", HOLDFAST_API_LLM_URL="http://127.0.0.1:9/v1")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(_end, up)
    return up.start()


def _end(up: Up) -> None:
    up.stop()


def descendants(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(holds: Callable[[], Any], what: str, limit_s: float = 30.0) -> Any:
    """The first true answer."""
    until_s = time.monotonic() + limit_s
    while not (found := holds()):
        assert time.monotonic() < until_s, f"not {what} after {limit_s:.0f} s"
        time.sleep(0.05)
    return found
