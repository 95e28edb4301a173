"""What is taken from a slot's process before it sees a stranger's file, and word of what could not be.

    fence     Landlock: files (services.media.slots.fence)        before the first thread
    lifeline  the kernel ends it with its parent            before the filter, which forbids such a bond
    bounds    memory, files, descriptors                    after the warm-up: below the baseline libvips aborts
    filter    seccomp: no network, program, process, …      last; for every thread that there is

Invariant: none of it can be taken back by the process. Works as root and as nobody: it needs no privilege.
"""

import ctypes
import fcntl
import os
import platform
import resource
import select
import signal

from services.media.slots.bpf import Step, program

_SET_NO_NEW_PRIVS, _SET_MODE_FILTER, _TSYNC = 38, 1, 1
_SECCOMP = {"x86_64": 317, "aarch64": 277}
ON = "on"
PROTECTIONS = ("seccomp", "landlock", "lifeline")


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step)))


def close_system_calls() -> str:
    """Say `on`, or why it is not. From then on the calls of services.media.slots.syscalls fail in every thread."""
    machine = platform.machine()
    try:
        steps = program(machine, os.getpid())
    except KeyError:
        return f"there are no rules for {machine or 'this machine'}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"new privileges cannot be given up ({os.strerror(ctypes.get_errno())})"
    asked = _packed(steps)
    found = libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _TSYNC, ctypes.byref(asked))
    if found > 0:
        return f"the filter does not hold for thread {found}"
    return ON if found == 0 else f"the kernel takes no filter ({os.strerror(ctypes.get_errno())})"


def tie_to_parent(lifeline: int) -> str:
    """Have the kernel kill this process when the other end of the pipe closes; leave at once if it has.

    No thread of ours is needed for it: a decoder that holds the GIL for minutes dies all the same. PR_SET_PDEATHSIG
    would watch the forker, which may die and be replaced while its slots live on.
    """
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    except (AttributeError, OSError) as error:
        return f"the kernel does not watch the parent ({error})"
    hung_up = select.poll()
    hung_up.register(lifeline, 0)
    if hung_up.poll(0):
        os._exit(0)
    return ON


def bound(data_bytes: int, file_bytes: int, open_files: int) -> None:
    """Private writable memory, one file, descriptors: for good, soft and hard."""
    for what, most in (
        (resource.RLIMIT_DATA, data_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        chosen = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (chosen, chosen))


def _packed(steps: list[Step]) -> _Program:
    array = (_Step * len(steps))(*(_Step(*step) for step in steps))
    return _Program(len(steps), array)
