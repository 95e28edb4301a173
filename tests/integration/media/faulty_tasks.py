"""Tasks that misbehave, for slots under test. `started` is a FIFO: opening it tells the test that the call runs."""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from services.media.slots import reporting
from services.media.slots.reporting import report


def echo(value):
    return {"value": value, "pid": os.getpid()}


def work(ms):
    time.sleep(ms / 1000)
    return {"pid": os.getpid()}


def hold(started, ignore_sigterm=False, spin=False):
    if ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Path(started).open("w") as fifo:
        fifo.write(str(os.getpid()))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if not spin:
            time.sleep(1)
    return {}


def crash(signal_number):
    os.kill(os.getpid(), signal_number)
    return {}


def leave(code):
    os._exit(code)


def hog(size_bytes):
    return {"size": len(bytearray(size_bytes))}


def long_answer():
    return {"text": "x" * 100_000}


def boom():
    raise LookupError("no such luck")


def grow(size_bytes):
    """Keep so much more for ever."""
    _KEPT.append(b"x" * size_bytes)
    return {"pid": os.getpid()}


def fill_and_spin(size_bytes):
    _KEPT.append(b"x" * size_bytes)
    while True:
        pass


def map_shared(size_bytes, started):
    """Memory that RLIMIT_DATA does not count, filled slowly enough to be seen."""
    pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    Path(started).touch()
    for at in range(0, size_bytes, 1 << 20):
        pages[at : at + (1 << 20)] = b"x" * (1 << 20)
        time.sleep(0.001)
    time.sleep(30)
    return {}


def write_file(directory, size_bytes):
    with (Path(directory) / "big").open("wb") as file:
        file.seek(size_bytes - 1)
        file.write(b"x")
    return {}


def litter(directory, die):
    """What a library does: a temporary file that nobody removes when the process is killed."""
    made = tempfile.mkstemp()[1]
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"made": made, "tmpdir": os.environ["TMPDIR"]}


def hold_the_gil(started):
    """Hours of C code that never gives up the interpreter."""
    with Path(started).open("w") as fifo:
        fifo.write(str(os.getpid()))
    return {"bits": (7 ** (7**10)).bit_length()}


def attempts(parent, secret):
    """What an intruder would try → the error's name, or `allowed`."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number, *arguments):
        if libc.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "")

    tried = {
        "fork": os.fork,
        "vfork": lambda: call(58),
        "clone": lambda: call(56, signal.SIGCHLD, 0, 0, 0, 0),
        "clone3": lambda: call(435, 0, 0),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "execveat": lambda: call(322, -100, b"/bin/true", None, None, 0),
        "spawn": lambda: subprocess.run(["/bin/true"], check=True),
        "inet": lambda: socket.socket(socket.AF_INET),
        "inet6_datagram": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "socketpair": socket.socketpair,
        "io_uring": lambda: call(425, 4, 0),
        "ptrace": lambda: call(101, 16, parent, 0, 0),
        "process_vm_readv": lambda: call(310, parent, 0, 0, 0, 0, 0),
        "kill_parent": lambda: os.kill(parent, 0),
        "kill_all": lambda: os.kill(-1, 0),
        "pidfd": lambda: os.pidfd_open(parent),
        "mount": lambda: call(165, b"none", b"/mnt", b"tmpfs", 0, 0),
        "unshare": lambda: call(272, 0x10000000),
        "setns": lambda: call(308, 0, 0),
        "bpf": lambda: call(321, 0, 0, 0),
        "keyctl": lambda: call(250, 0, -3, 0),
        "userfaultfd": lambda: call(323, 0),
        "perf": lambda: call(298, 0, 0, -1, -1, 0),
        "memory_limit": lambda: resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2),
        "own_signals": lambda: fcntl.fcntl(0, fcntl.F_SETOWN, parent),
        "renice_all": lambda: call(141, 1, 0, 0),
        "their_processor": lambda: os.sched_setaffinity(parent, {0}),
        "their_class": lambda: os.sched_setscheduler(parent, os.SCHED_BATCH, os.sched_param(0)),
        "mode": lambda: Path("/").chmod(0o755),
        "times": lambda: os.utime("/"),
        "queues": lambda: call(71, 0x7FFFFFFF, 0, None),
        "hidden_memory": lambda: os.memfd_create("x"),
        "terminal": lambda: fcntl.ioctl(0, 0x5412, b"x"),
        "their_environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "their_memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "a_secret": lambda: Path(secret).read_bytes(),
        "write_elsewhere": lambda: Path("/var/tmp/holdfast-intruder").write_text("x"),
        "passwords": lambda: Path("/etc/passwd").read_bytes(),
    }
    return {name: _outcome(action) for name, action in tried.items()}


def blessings(directory):
    """What a decoder needs, after the filter: threads, files, memory, its own signals."""
    done = []
    thread = threading.Thread(target=done.append, args=("thread",))
    thread.start()
    thread.join()
    path = Path(directory) / "made"
    path.write_text("x")
    path.rename(path.with_name("renamed"))
    os.kill(os.getpid(), 0)
    readable, _, _ = select.select([], [], [], 0)
    return {
        "thread": done == ["thread"],
        "file": path.with_name("renamed").read_text() == "x" and not readable,
        "memory": len(mmap.mmap(-1, 1 << 20)) == 1 << 20,
        "limits": resource.getrlimit(resource.RLIMIT_DATA)[0] != 0,
    }


def _outcome(action):
    try:
        action()
    except OSError as refused:
        return errno.errorcode.get(refused.errno, str(refused.errno))
    except ValueError as refused:
        return "EPERM" if "not allowed" in str(refused) or "current limit" in str(refused) else str(refused)
    return "allowed"


def chatter():
    print("this must not reach the parent's standard output")
    sys.stdout.flush()
    return {}


def environment():
    return {"names": sorted(os.environ)}


def nature():
    return {
        "session": os.getsid(0) == os.getpid(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "oom": int(Path("/proc/self/oom_score_adj").read_text()),
    }


def steps(count):
    for step in range(count):
        report((step + 1) / count, f"step {step + 1}")
    return {"count": count}


def stray():
    reporting._send("half", "this is no fraction")
    return {}


def lie(message):
    """What a slot says when a file has taken it over; `ID` is the call's."""
    channel, call_id = reporting._send.args
    channel.sendall(json.dumps(message).replace('"ID"', str(call_id)).encode() + b"\n")
    time.sleep(30)
    return {}


_KEPT: list[bytes] = []
TASKS = {
    f.__name__: f
    for f in (
        steps, stray, lie, echo, work, hold, crash, leave, hog, long_answer, boom, chatter, environment, nature, grow,
        fill_and_spin,
        map_shared, write_file, litter, hold_the_gil, attempts, blessings,
    )
}  # fmt: skip
