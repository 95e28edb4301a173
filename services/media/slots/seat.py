"""The parent's end of one slot: its two channels, its calls in flight, its deadline.

A seat holds at most two calls: the first runs, the second waits in the channel so that the slot never idles. Invariant:
after a slot's death, a call that can still be read from the channel was never taken and is nobody's fault; of the
others, at most one, it ran. `gone` is set by the end of file on the answer channel, which the kernel sends when the
last thread of the child has ended: nothing writes files after it.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from services.media.errors import DeadlineExceeded, MediaError, TaskFailed
from services.media.slots import wire
from services.media.slots.call import Call
from services.media.slots.launcher import Launcher
from services.media.slots.slot import PAGE_BYTES, Channels
from shared.kernel.errors import HoldfastError

DEPTH = 2
KILL_WAIT_S = 1.0
"""A process that SIGKILL has not ended by then hangs in the kernel; its caller is told all the same."""


class Seat:
    def __init__(self, launcher: Launcher, on_answer: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._launcher = launcher
        self._on_answer = on_answer
        self._lines = wire.Lines()
        self._pidfd: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight: deque[Call] = deque()
        self.pid = 0
        self.taken = 0
        self.answered = 0
        self.killed = False
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.refusal = ""
        self.protection: dict[str, str] = {}
        self.baseline_bytes = self.resident_bytes = 0
        self._push, self._pull = wire.call_channel()
        self._answers, self._theirs = socket.socketpair()
        self._answers.setblocking(False)
        self._lifeline = -1
        self._memory = -1

    async def open(self, within_s: float) -> None:
        """Wait for the child's `ready`. Raises OSError, also when it has ended since; the seat is closed then."""
        opened = False
        try:
            self._launch()
            self._loop.add_reader(self._answers.fileno(), self._on_readable)
            await asyncio.wait({self.ready, self.gone}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            opened = self.ready.done() and not self.gone.done()
        finally:
            if not opened:  # also when whoever waited was cancelled in the turn in which it became ready
                self.kill()
                self.close()
        if self.refusal:
            raise PermissionError(self.refusal)
        if not opened:
            raise ConnectionResetError(f"the slot ended early, or was not ready within {within_s} s")

    def accepts(self, depth: int = DEPTH) -> bool:
        return not self.killed and not self.gone.done() and len(self.in_flight) < depth

    def send(self, call: Call) -> None:
        """Raises OSError when the channel does not take it; the call is not in flight then."""
        self._push.send(call.message, socket.MSG_DONTWAIT)
        self.taken += 1
        self.in_flight.append(call)
        if len(self.in_flight) == 1:
            self._arm()

    def withdraw(self, call: Call) -> bool:
        """Take back a call that the slot has not begun; False when it has."""
        unread = self._drain()
        for message in unread:
            if message != call.message:
                self._push.send(message, socket.MSG_DONTWAIT)
        if call.message not in unread:
            return False
        was_first = self.in_flight[0] is call
        self.in_flight.remove(call)
        if was_first:
            self._arm()
        return True

    def overrule(self, verdict: HoldfastError) -> None:
        """End the slot and what runs in it, which gets this error."""
        if self._timer is not None:
            self._timer.cancel()
        self.in_flight[0].verdict = verdict
        self.kill()
        self._timer = self._loop.call_later(KILL_WAIT_S, self.in_flight[0].fail, verdict)

    def read_resident(self) -> int:
        """Bytes of the child that are in memory, asked of the kernel; 0 when it does not say."""
        try:
            return int(os.pread(self._memory, 64, 0).split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def kill(self) -> None:
        if self.killed or self.gone.done() or not self.pid:
            return
        self.killed = True
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is None:
                os.kill(self.pid, signal.SIGKILL)
            else:  # the forker reaps, so a bare pid could be somebody else's by now
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def take_unstarted(self) -> list[Call]:
        """After `gone`: the calls that the slot never began. What is left in flight was running."""
        unread = set(self._drain())
        unstarted = [call for call in self.in_flight if call.message in unread]
        self.in_flight = deque(call for call in self.in_flight if call.message not in unread)
        return unstarted

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._answers.fileno() >= 0:
            self._loop.remove_reader(self._answers.fileno())
        for end in (self._answers, self._push, self._pull):
            end.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        for fd in (self._lifeline, self._memory):
            if fd >= 0:
                os.close(fd)
        self._lifeline = self._memory = -1
        if not self.gone.done():
            self.gone.set_result(None)

    def _launch(self) -> None:
        theirs, self._lifeline = os.pipe()  # never written to: that it closes is what it says
        try:
            with self._theirs:
                self._launcher.launch(Channels(self._pull, self._theirs, theirs))
        finally:
            os.close(theirs)

    def _drain(self) -> list[bytes]:
        unread: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while len(unread) < DEPTH:
                unread.append(self._pull.recv(wire.MESSAGE_LIMIT_BYTES, socket.MSG_DONTWAIT))
        return unread

    def _on_readable(self) -> None:
        try:
            data = self._answers.recv(wire.MESSAGE_LIMIT_BYTES)
            messages = self._lines.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):  # a child that no longer speaks the protocol is of no use
            self.kill()
            data, messages = b"", []
        for message in messages:
            if self.killed:  # what it says after what it should not have said, or after its deadline, is too late
                break
            try:
                self._take_message(message)
            except Exception:  # whatever it said: it does not speak the protocol
                self.kill()
        if not data:
            self._loop.remove_reader(self._answers.fileno())
            self.gone.set_result(None)

    def _take_message(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            if self.ready.done():  # whoever has taken it over would have another process killed in its place
                raise ValueError("a slot is ready once")
            self.pid = int(message["ready"])
            self._launcher.forget(self.pid)
            with contextlib.suppress(AttributeError, OSError):  # Linux only
                self._pidfd = os.pidfd_open(self.pid)
                self._memory = os.open(f"/proc/{self.pid}/statm", os.O_RDONLY)
            self.protection = {str(name): str(words) for name, words in message["protection"].items()}
            self.baseline_bytes = self.resident_bytes = int(message["rss"])
            self.ready.set_result(None)
            return
        if "refused" in message:
            self.refusal = str(message["refused"])[:500]
            return
        if not self.in_flight or self.in_flight[0].id != message.get("id"):
            self.kill()
            return
        if "progress" in message:
            fraction, note = message["progress"]
            self._report(self.in_flight[0], float(fraction), str(note)[:200])
            return
        resident_bytes = int(message["rss"])
        result = message["ok"] if "ok" in message else _error(message["error"])
        if not isinstance(result, (dict, HoldfastError)):
            raise TypeError("an answer is an object")
        # From here on nothing may fail: a call that has left the queue has nobody else to end it.
        self.resident_bytes = resident_bytes
        self.answered += 1
        call = self.in_flight.popleft()
        self._arm()
        if isinstance(result, HoldfastError):
            call.fail(result)
        else:
            call.succeed(result)
        self._on_answer()

    def _report(self, call: Call, fraction: float, note: str) -> None:
        if call.on_progress is not None and not call.future.done():
            call.on_progress(fraction, note)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.in_flight:
            self._timer = self._loop.call_later(self.in_flight[0].timeout_s, self._on_deadline)

    def _on_deadline(self) -> None:
        limit_s = self.in_flight[0].timeout_s
        self.overrule(DeadlineExceeded(f"the call ran for more than {limit_s:g} s", timeout_s=limit_s))


def _error(error: dict[str, Any]) -> MediaError | TaskFailed:
    if error["refusal"]:
        return MediaError(error["message"], code=error["type"], **error["details"])
    return TaskFailed(f"{error['type']}: {error['message']}", error_type=error["type"])
