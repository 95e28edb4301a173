"""Keeps the processes of a local system running: starts them, restarts what dies, stops all of them and their children.

Each role is a process group of its own, so that Ctrl-C reaches the supervisor only, which then stops the roles in
order. A role dies with the supervisor, whatever ends it.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
MOST_BACKOFF_S = 5.0
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@dataclass
class Role:
    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0
    started_s: float = 0.0
    down_until_s: float = 0.0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - commands made in holdfast.system
                self.command, env=dict(self.env), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        self.started_s = time.monotonic()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    roles: list[Role] = field(default_factory=list)

    def start(self) -> None:
        for role in self.roles:
            role.start()

    def tend(self) -> list[str]:
        """Restart what has died, with growing pauses while it dies young; returns the names of the dead."""
        died = []
        now_s = time.monotonic()
        for role in self.roles:
            if role.process is not None and role.process.poll() is not None:
                died.append(f"{role.name} (exit {role.process.returncode})")
                lived_s = now_s - role.started_s
                role.restarts = 0 if lived_s > 10 else role.restarts + 1
                role.down_until_s = now_s + min(MOST_BACKOFF_S, 0.1 * 2**role.restarts)
                _kill_group(role)  # what it had started, and has not taken along
                role.process = None
            if role.process is None and now_s >= role.down_until_s:
                role.start()
        return died

    def stop(self, limit_s: float) -> list[str]:
        """SIGTERM in order, wait, then SIGKILL the groups of those that overran; returns their names."""
        for role in self.roles:
            _signal(role, signal.SIGTERM)
        until_s = time.monotonic() + limit_s
        for role in self.roles:
            if role.process is not None:
                try:
                    role.process.wait(max(0.1, until_s - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        late = [role.name for role in self.roles if role.alive]
        for role in self.roles:
            _kill_group(role)
            if role.process is not None:
                role.process.wait()
        return late


def _signal(role: Role, signum: int) -> None:
    if role.process is not None and role.process.poll() is None:
        role.process.send_signal(signum)


def _kill_group(role: Role) -> None:
    if role.process is None:
        return
    try:
        os.killpg(role.process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
