"""The kernel's Landlock around a slot's files: it reads programs and libraries, and writes the scratch folder only.

Owns what a slot may open once it has been taken over: not the worker's environment in /proc, not its memory, not the
storage, not the database file. Invariant: it is put up before the slot has a second thread, as it holds for the thread
that asks and those that come after. Refuses nothing where the kernel has no Landlock (before 5.13, or switched off): it
says so, and the caller decides.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI = (1 << 13) - 1
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL  # the others are of folders only
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE

SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/dev/urandom", "/dev/zero",
    "/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/sys/devices/system/cpu",
)  # fmt: skip


def readable() -> list[str]:
    """Programs and libraries: what a lazy import or a decoder's plugin may still need."""
    here = Path(__file__).resolve()
    ours = [str(here.parents[1]), str(here.parents[2] / "shared")]
    return [*SYSTEM, *ours, sys.prefix, sys.base_prefix]


def put_up(writable: Sequence[str]) -> str:
    """Say `on`, or why it is not, in words. `writable` is read as well; what is not there is left out."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    if abi < 1:
        return f"the kernel has no Landlock ({os.strerror(ctypes.get_errno())})"
    handled = _FIRST_ABI | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL if abi >= 5 else 0)
    ports, scopes = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)  # TCP; abstract sockets, signals
    asked = struct.pack("=QQQ", handled, ports, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = libc.syscall(_CREATE, asked, ctypes.c_size_t(len(asked)), 0)
    if ruleset < 0:
        return _failed("rules cannot be made")
    try:
        _allow(libc, ruleset, readable(), _READ & handled)
        _allow(libc, ruleset, [*writable, "/dev/null"], _WRITE & handled)
        if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.syscall(_RESTRICT, ruleset, 0) != 0:
            return _failed("it cannot be entered")
    finally:
        os.close(ruleset)
    return "on"


def _allow(libc: ctypes.CDLL, ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        try:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            is_folder = os.path.isdir(path)  # noqa: PTH112 - a string from a list of them
            rule = struct.pack("=Qi", rights if is_folder else rights & _OF_FILES, folder)
            libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        finally:
            os.close(folder)


def _failed(what: str) -> str:
    return f"{what} ({os.strerror(ctypes.get_errno())})"
