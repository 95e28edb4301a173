"""The inside of one slot: a child process that takes calls one at a time and answers them.

Owns the child's limits and its end: it lives in its own session, is nice to the rest of the machine, is the kernel's
first choice when memory runs out, is fenced in before it sees a file (see `sandbox`), and leaves at once when
its parent does. Invariant: a call is either still in the channel, or it is the one that runs.

It keeps the default action for every signal. A call's own alarm ends the process even when the parent is gone or stuck.
What libraries put into temporary files lies in the call's own `directory`, which its caller removes, however it ended.
"""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from services.media.errors import MediaError, TaskFailed
from services.media.slots import fence, reporting, sandbox, wire

Task = Callable[..., dict[str, Any]]
"""A task takes its call's args as keywords, and gives back what JSON can hold."""

OOM_SCORE = "500"
STATM = "/proc/self/statm"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class SlotLimits:
    """`data_bytes` bounds the private writable memory (RLIMIT_DATA), `niceness` is added to the parent's.

    `required`: protections (services.media.slots.sandbox.PROTECTIONS) without which a slot does not serve.
    """

    data_bytes: int = 900 * 1024 * 1024
    niceness: int = 5
    deadline_grace_s: float = 2.0
    file_bytes: int = 4 * 1024 * 1024 * 1024
    open_files: int = 256
    required: tuple[str, ...] = ()

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Channels:
    """What a slot is given: the channels of services.media.slots.wire, and a pipe that its parent holds open."""

    calls: socket.socket
    answers: socket.socket
    lifeline: int

    def close(self) -> None:
        self.calls.close()
        self.answers.close()
        os.close(self.lifeline)


def serve(channels: Channels, module: ModuleType, limits: SlotLimits) -> NoReturn:
    """Run `module.TASKS` until the parent closes the answer channel; `module.warm_up` runs once before."""
    answers = channels.answers
    memory = os.open(STATM, os.O_RDONLY) if os.path.exists(STATM) else -1  # noqa: PTH110 - before the fence
    protection = _fence_in(channels, module, limits)
    missing = [f"{name}: {protection.get(name)}" for name in limits.required if protection.get(name) != sandbox.ON]
    if missing:
        answers.sendall(wire.encode({"refused": f"a protection that is required is not on: {'; '.join(missing)}"}))
        os._exit(1)
    answers.sendall(wire.encode({"ready": os.getpid(), "rss": _resident(memory), "protection": protection}))
    while True:
        call = json.loads(channels.calls.recv(wire.MESSAGE_LIMIT_BYTES))
        signal.setitimer(signal.ITIMER_REAL, call["timeout_s"] + limits.deadline_grace_s)
        _put_scratch(call["args"])
        reporting.send_with(partial(_report, answers, call["id"]))
        answer = _answer(module.TASKS, call, memory)
        reporting.send_with(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.sendall(answer)


def _fence_in(channels: Channels, module: ModuleType, limits: SlotLimits) -> dict[str, str]:
    """Each protection with `on` or why it is not. The order matters, see services.media.slots.sandbox."""
    os.setsid()
    _mark_process()
    lifeline = sandbox.tie_to_parent(channels.lifeline)
    landlock = fence.put_up([tempfile.gettempdir()])
    threading.Thread(target=_leave_with_parent, args=(channels.answers,), daemon=True).start()
    getattr(module, "warm_up", _nothing)()
    _be_nice(limits.niceness)  # now: a slot that takes a dead one's place does not wait behind those that work
    sandbox.bound(limits.data_bytes, limits.file_bytes, limits.open_files)
    return {"seccomp": sandbox.close_system_calls(), "landlock": landlock, "lifeline": lifeline}


def _answer(tasks: dict[str, Task], call: dict[str, Any], memory: int) -> bytes:
    try:
        if call["task"] not in tasks:
            raise TaskFailed(f"no task is named {call['task']!r}")  # noqa: TRY301 - one place forms every answer
        result = tasks[call["task"]](**call["args"])
        return wire.encode({"id": call["id"], "ok": result, "rss": _resident(memory)})
    except MediaError as refusal:
        error = refusal.wire()
    except MemoryError:
        error = MediaError("the file needs more memory than a slot has", code="out_of_memory").wire()
    except OSError as failure:
        error = _too_large(failure) or _unforeseen(failure)
    except Exception as failure:
        error = _unforeseen(failure)
    return wire.encode({"id": call["id"], "error": error, "rss": _resident(memory)})


def _unforeseen(failure: Exception) -> dict[str, Any]:
    return {"type": type(failure).__name__, "message": str(failure)[:2000], "refusal": False, "details": {}}


def _too_large(failure: OSError) -> dict[str, Any] | None:
    if failure.errno != errno.EFBIG:
        return None
    return MediaError("a file that was made passed the limit of a slot", code="output_too_large").wire()


def _put_scratch(args: dict[str, Any]) -> None:
    """Temporary files of libraries (libvips reads TMPDIR each time) go where the caller cleans up."""
    if isinstance(directory := args.get("directory"), str):
        os.environ["TMPDIR"] = tempfile.tempdir = directory


def _resident(memory: int) -> int:
    """Bytes of this process that are in memory, libraries included; 0 when nobody says."""
    return int(os.pread(memory, 64, 0).split()[1]) * PAGE_BYTES if memory >= 0 else 0


def _report(answers: socket.socket, call_id: int, fraction: float, note: str) -> None:
    answers.sendall(wire.encode({"id": call_id, "progress": [fraction, note]}))


def _leave_with_parent(answers: socket.socket) -> NoReturn:
    # Where the kernel does not watch the lifeline: a hang-up reaches a busy slot only in a thread, once it has the GIL.
    hang_up = select.poll()
    hang_up.register(answers, 0)
    hang_up.poll()
    os._exit(0)


def _be_nice(niceness: int) -> None:
    """Every thread that there is; those to come take it over."""
    wanted = os.getpriority(os.PRIO_PROCESS, 0) + niceness
    try:
        threads = [int(name) for name in os.listdir("/proc/self/task")]  # noqa: PTH208 - names are wanted
    except OSError:
        threads = [0]
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.setpriority(os.PRIO_PROCESS, thread, wanted)


def _mark_process() -> None:
    for path, text in (("/proc/self/comm", "media-slot"), ("/proc/self/oom_score_adj", OOM_SCORE)):
        with contextlib.suppress(OSError), open(path, "w") as file:  # noqa: PTH123 - absent outside Linux
            file.write(text)


def _nothing() -> None:
    return None
