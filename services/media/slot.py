"""The inside of one slot: a child process that takes calls one at a time and answers them.

Owns the child's limits and its end: it lives in its own session, is nice to the rest of the machine, is the kernel's
first choice when memory runs out, has a bounded heap (set after the warm-up: below the baseline libvips aborts), and
leaves at once when its parent does. Invariant: a call is either still in the channel, or it is the one that runs.

It keeps the default action for every signal. A call's own alarm ends the process even when the parent is gone or stuck.
"""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from services.media import reporting, wire
from services.media.errors import MediaError, TaskFailed

Task = Callable[..., dict[str, Any]]
"""A task takes its call's args as keywords, and gives back what JSON can hold."""

OOM_SCORE = "500"


@dataclass(frozen=True)
class SlotLimits:
    """`data_bytes` bounds the private writable memory (RLIMIT_DATA), `niceness` is added to the parent's."""

    data_bytes: int = 900 * 1024 * 1024
    niceness: int = 5
    deadline_grace_s: float = 2.0

    def dump(self) -> str:
        return json.dumps(asdict(self))


def serve(calls: socket.socket, answers: socket.socket, module: ModuleType, limits: SlotLimits) -> NoReturn:
    """Run `module.TASKS` until the parent closes the answer channel; `module.warm_up` runs once before."""
    os.setsid()
    os.nice(limits.niceness)
    _mark_process()
    threading.Thread(target=_leave_with_parent, args=(answers,), daemon=True).start()
    getattr(module, "warm_up", _nothing)()
    resource.setrlimit(resource.RLIMIT_DATA, (limits.data_bytes, limits.data_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.sendall(wire.encode({"ready": os.getpid()}))
    while True:
        call = json.loads(calls.recv(wire.MESSAGE_LIMIT_BYTES))
        signal.setitimer(signal.ITIMER_REAL, call["timeout_s"] + limits.deadline_grace_s)
        reporting.send_with(partial(_report, answers, call["id"]))
        answer = _answer(module.TASKS, call)
        reporting.send_with(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.sendall(answer)


def _answer(tasks: dict[str, Task], call: dict[str, Any]) -> bytes:
    try:
        if call["task"] not in tasks:
            raise TaskFailed(f"no task is named {call['task']!r}")  # noqa: TRY301 - one place forms every answer
        return wire.encode({"id": call["id"], "ok": tasks[call["task"]](**call["args"])})
    except MediaError as refusal:
        error = refusal.wire()
    except MemoryError:
        error = MediaError("the file needs more memory than a slot has", code="out_of_memory").wire()
    except Exception as failure:
        error = {"type": type(failure).__name__, "message": str(failure)[:2000], "refusal": False, "details": {}}
    return wire.encode({"id": call["id"], "error": error})


def _report(answers: socket.socket, call_id: int, fraction: float, note: str) -> None:
    answers.sendall(wire.encode({"id": call_id, "progress": [fraction, note]}))


def _leave_with_parent(answers: socket.socket) -> NoReturn:
    # Orphans: PR_SET_PDEATHSIG would watch the forker, not the pool. A hang-up reaches a busy slot only in a thread;
    # libvips gives up the GIL while it works, and the alarm covers what does not.
    hang_up = select.poll()
    hang_up.register(answers, 0)
    hang_up.poll()
    os._exit(0)


def _mark_process() -> None:
    for path, text in (("/proc/self/comm", "media-slot"), ("/proc/self/oom_score_adj", OOM_SCORE)):
        with contextlib.suppress(OSError), open(path, "w") as file:  # noqa: PTH123 - absent outside Linux
            file.write(text)


def _nothing() -> None:
    return None
