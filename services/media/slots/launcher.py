"""The pool's hold on its forker: starts it, asks it for slots, hears how slots ended.

Owns the forker process and its environment. Invariant: the processes that decode strangers' files see none of this
process's secrets, only the variables named here. A forker that died is started again by the next request; the slots
that it had made live on, only their exit status is then unknown.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

from services.media.slots import wire
from services.media.slots.forker import REQUEST
from services.media.slots.slot import Channels, SlotLimits

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIPS_DISC_THRESHOLD")
# The C library would keep what a large picture has needed, and the next large one find no room under the limit.
_GIVE_BACK = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
STATUS_WAIT_S = 0.5
CLOSE_WAIT_S = 2.0
KEPT_STATUSES = 256


class Launcher:
    def __init__(self, tasks_module: str, limits: SlotLimits) -> None:
        self._tasks_module = tasks_module
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lines = wire.Lines()
        self._ended: dict[int, int] = {}
        self._waiting: dict[int, asyncio.Future[int | None]] = {}

    def launch(self, channels: Channels) -> None:
        """Ask for one slot on these channels; it says `ready` there, or closes them. Raises OSError."""
        if self._control is None:
            self._start_forker()
        assert self._control is not None
        try:
            fds = [channels.calls.fileno(), channels.answers.fileno(), channels.lifeline]
            socket.send_fds(self._control, [REQUEST], fds)
        except OSError:
            self._drop_forker()
            raise

    async def exit_status(self, pid: int) -> int | None:
        """The exit code of a slot that has ended (negative: its signal), or None when nobody can know it."""
        if pid in self._ended:
            return self._ended.pop(pid)
        if self._control is None:
            return None
        waiter = self._waiting[pid] = asyncio.get_running_loop().create_future()
        try:  # not wait_for: that of 3.11 swallows a cancellation which comes together with the answer
            await asyncio.wait({waiter}, timeout=STATUS_WAIT_S)
            return waiter.result() if waiter.done() else None
        finally:
            self._waiting.pop(pid, None)
            self._ended.pop(pid, None)

    def forget(self, pid: int) -> None:
        """A new slot has this pid: what was known of its last owner no longer counts."""
        self._ended.pop(pid, None)

    async def close(self) -> None:
        process, self._process = self._process, None
        self._drop_forker()
        if process is not None:
            await asyncio.to_thread(_reap, process)

    def _start_forker(self) -> None:
        if self._process is not None:
            _reap(self._process, wait_s=0.0)
        ours, theirs = socket.socketpair()
        limits = self._limits.dump()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
                [sys.executable, "-m", "services.media.slots.forker", str(theirs.fileno()), self._tasks_module, limits],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,
            )
        ours.setblocking(False)
        self._control, self._lines = ours, wire.Lines()
        asyncio.get_running_loop().add_reader(ours.fileno(), self._on_report)

    def _on_report(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(wire.MESSAGE_LIMIT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop_forker()
            return
        for report in self._lines.feed(data):
            self._note_ended(report["pid"], report["status"])

    def _note_ended(self, pid: int, status: int) -> None:
        self._ended[pid] = status
        if len(self._ended) > KEPT_STATUSES:  # slots that never got ready leave a status that nobody asks for
            del self._ended[next(iter(self._ended))]
        waiter = self._waiting.get(pid)
        if waiter is not None and not waiter.done():
            waiter.set_result(status)

    def _drop_forker(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            asyncio.get_running_loop().remove_reader(control.fileno())
            control.close()
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_result(None)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - a string is wanted
    # libvips reads these once, when it is loaded.
    return kept | {
        "PYTHONPATH": path,
        "VIPS_CONCURRENCY": "1",
        "VIPS_BLOCK_UNTRUSTED": "1",
        "VIPS_WARNING": "0",
        **_GIVE_BACK,
    }


def _reap(process: subprocess.Popen[bytes], wait_s: float = CLOSE_WAIT_S) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait_s)
        return
    process.kill()
    process.wait()
