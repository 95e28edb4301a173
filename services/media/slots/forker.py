"""The process that slots are forked from: `python -m services.media.slots.forker FD MODULE LIMITS`.

It imports the task module once (pyvips: 90 ms) and then forks a ready slot in about 2 ms. It exists because the pool's
own process must never fork: it has an event loop and threads. Invariant: this process stays single-threaded, so it
opens libraries but never runs them (a fork after libvips had started its threads hung).

Protocol on FD: a request is one byte with three descriptors, a slot's call and answer channels and its lifeline; a
report is a JSON line {pid, status} for every slot that ended. End of file means that the pool is gone, and so is this
process.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from types import ModuleType

from services.media.slots import wire
from services.media.slots.slot import Channels, SlotLimits, serve

REQUEST = b"s"


def main(fd: int, module_name: str, limits_json: str) -> None:
    os.dup2(2, 1)  # a library that prints must not write into the parent's standard output
    control = socket.socket(fileno=fd)
    limits = SlotLimits(**json.loads(limits_json))
    module = importlib.import_module(module_name)
    getattr(module, "preload", int)()
    gc.freeze()
    wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == wake:
                os.read(wake, 512)
                _report_ended(control)
            else:
                request, fds, _, _ = socket.recv_fds(control, len(REQUEST), 3)
                if not request:
                    return
                calls, answers, lifeline = fds
                channels = Channels(socket.socket(fileno=calls), socket.socket(fileno=answers), lifeline)
                _fork(control, (wake, alarm), channels, module, limits)


def _fork(
    control: socket.socket, pipe: tuple[int, int], channels: Channels, module: ModuleType, limits: SlotLimits
) -> None:
    try:
        pid = os.fork()
    except OSError:
        pid = -1  # closing the channels tells the pool, which waits before it asks again
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for end in pipe:
                os.close(end)
            serve(channels, module, limits)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    channels.close()


def _report_ended(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.sendall(wire.encode({"pid": pid, "status": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the pool is gone
        main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
