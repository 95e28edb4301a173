"""Tasks that misbehave, for slots under test. `started` is a FIFO: opening it tells the test that the call runs."""

import os
import signal
import sys
import time
from pathlib import Path

from services.media import reporting
from services.media.reporting import report


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


def chatter():
    print("this must not reach the parent's standard output")
    sys.stdout.flush()
    return {}


def environment():
    return {"names": sorted(os.environ)}


def nature():
    return {
        "session": os.getsid(0) == os.getpid(),
        "nice": os.nice(0),
        "oom": int(Path("/proc/self/oom_score_adj").read_text()),
    }


def steps(count):
    for step in range(count):
        report((step + 1) / count, f"step {step + 1}")
    return {"count": count}


def stray():
    reporting._send("half", "this is no fraction")
    return {}


TASKS = {
    f.__name__: f
    for f in (steps, stray, echo, work, hold, crash, leave, hog, long_answer, boom, chatter, environment, nature)
}
